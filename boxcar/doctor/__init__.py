"""Checks what this machine has and lacks. May import `config` and what is below; no other step.

Nothing is changed, except that a small object is written to and removed from a bucket of runs. No other network is used.
"""

from concurrent.futures import ThreadPoolExecutor

from boxcar.doctor.buckets import examine_buckets
from boxcar.doctor.finding import Finding, print_findings
from boxcar.doctor.machine import examine_cpus, examine_disk, examine_memory
from boxcar.doctor.software import (
    examine_litert,
    examine_node,
    examine_packaged_weights,
    examine_python,
    examine_tensorflow,
    examine_tensorflowjs,
    examine_tfjs_packages,
    visible_gpus,
)

__all__ = ["Finding", "examine", "examine_buckets", "print_findings", "visible_gpus"]


def examine(output: str = ".", data: str | None = None) -> list[Finding]:
    """Checks everything that a run needs. Takes as long as importing TensorFlow.

    Args:
        output: URI of the folder for runs; it need not exist yet.
        data: URI of the images, if they are in a bucket.

    Returns:
        One finding per item, also for what is missing or broken. Nothing is raised.
    """
    with ThreadPoolExecutor(1) as pool:
        tensorflow = pool.submit(examine_tensorflow)  # a child process, and by far the slowest
        others = [examine_litert(), examine_tensorflowjs(), examine_node(), examine_tfjs_packages(), examine_packaged_weights()]
        machine = [examine_cpus(), examine_memory(), examine_disk(output)]
        buckets = examine_buckets(output, data)
        return [examine_python(), *tensorflow.result(), *others, *machine, *buckets]
