"""A run as Kubernetes Jobs, one per step: created, watched, and explained. The only package that uses the Kubernetes client.

May import `local`, the steps, and the packages below them. The client is loaded when a cluster is first used.
"""

from boxcar.cluster.job_chain import decide_on_cluster, evaluate_on_cluster, run_on_cluster
from boxcar.cluster.launch import run_job, train_on_cluster
from boxcar.cluster.trainer_job import gpu_count

__all__ = ["decide_on_cluster", "evaluate_on_cluster", "gpu_count", "run_job", "run_on_cluster", "train_on_cluster"]
