"""How much memory a process takes that does nothing but run an exported file.

python -m boxcar.export.memory_child PATH THREADS ANSWER
"""

import os
import resource
import sys
from pathlib import Path

import numpy as np

from boxcar.detectors.runners import open_runner
from boxcar.export.children import run_as_child

_PICTURES = 3  # buffers that are kept from one to the next are there then


def main() -> None:
    path, threads, answer = sys.argv[1:]
    with open_runner(Path(path), int(threads)) as runner:
        side = runner.specification.image_size
        for _ in range(_PICTURES):
            runner.detect(np.zeros([side, side, 3], np.uint8))
        # Not `getrusage`: on Linux a process inherits the peak of the one that started it.
        status = Path(f"/proc/{runner.process_id}/status")
        peak = _kilobytes(status.read_text(encoding="ascii")) * 1024 if status.exists() else None
    if peak is None:  # macOS, where it is in bytes, and inherits nothing
        peak = resource.getrusage(
            resource.RUSAGE_SELF if runner.process_id == os.getpid() else resource.RUSAGE_CHILDREN
        ).ru_maxrss
    Path(answer).write_text(str(peak), encoding="ascii")


def _kilobytes(status: str) -> int:
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


if __name__ == "__main__":
    run_as_child(main)
