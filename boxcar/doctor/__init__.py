"""What is here and what is missing on this machine: `boxcar doctor`. Nothing is changed and no network is used."""

from concurrent.futures import ThreadPoolExecutor

from boxcar.doctor.finding import Finding, print_findings
from boxcar.doctor.machine import examine_cpus, examine_disk, examine_memory
from boxcar.doctor.software import (
    examine_litert,
    examine_node,
    examine_python,
    examine_tensorflow,
    examine_tensorflowjs,
    examine_tfjs_packages,
    visible_gpus,
)

__all__ = ["Finding", "examine", "print_findings", "visible_gpus"]


def examine(folder: str = ".") -> list[Finding]:
    """Looks at everything that a run needs. Takes as long as importing TensorFlow does.

    Args:
        folder: where runs would be written; need not exist yet.

    Returns:
        One finding a thing, also for what is missing or broken; nothing is raised.
    """
    with ThreadPoolExecutor(1) as pool:
        tensorflow = pool.submit(examine_tensorflow)  # by far the slowest: a child process that the rest need not await
        others = [examine_litert(), examine_tensorflowjs(), examine_node(), examine_tfjs_packages()]
        machine = [examine_cpus(), examine_memory(), examine_disk(folder)]
        return [examine_python(), *tensorflow.result(), *others, *machine]
