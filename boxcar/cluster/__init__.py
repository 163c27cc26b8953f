"""A run on Kubernetes: one Job a step, built, created or adopted, watched and explained.

The only place that knows Kubernetes. Importing it loads no client: that is done where a cluster is asked.

What the one who starts a run needs to be allowed, in the run's namespace and nowhere else:

| group | resources | verbs | what for |
|---|---|---|---|
| batch | jobs | get, list, watch, create, delete | the steps; `get` also tells whose pod we are |
| | pods | get, list, watch | how they are; `get` also tells whose pod we are |
| | pods/log | get | progress, last words |
| | events | list | why pods are not there: quota, admission, scheduling, images |
| coordination.k8s.io | leases | get, create, update, patch | that somebody watches |
| | services | get, create, delete | names of the machines of a training on several |
| argoproj.io | workflows | get | whether the run that the Job belongs to is being ended |

The pods of the Jobs need `get` on leases in coordination.k8s.io, and nothing else.
"""

from boxcar.cluster.launch import run_job, train_on_cluster
from boxcar.cluster.pipeline import decide_on_cluster, evaluate_on_cluster, run_on_cluster
from boxcar.cluster.trainer_job import gpu_count

__all__ = ["decide_on_cluster", "evaluate_on_cluster", "gpu_count", "run_job", "run_on_cluster", "train_on_cluster"]
