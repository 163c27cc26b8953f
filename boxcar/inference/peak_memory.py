"""Measures the peak memory of a process that only runs an exported file.

python -m boxcar.inference.peak_memory PATH THREADS OUTPUT

It is not in `export`, because the imports of `export` would count, too.
"""

import contextlib
import os
import resource
import sys
from pathlib import Path

import numpy as np

from boxcar.errors import BoxcarError
from boxcar.inference.open_runner import open_runner

_IMAGES = 3  # afterwards, all buffers that are kept between images exist


def main() -> None:
    """Writes the number of bytes into the file OUTPUT; nothing if the system does not report it."""
    path, threads, output = sys.argv[1:]
    with open_runner(Path(path), int(threads)) as runner:
        side = runner.specification.image_size
        for _ in range(_IMAGES):
            # Whether the outputs are valid is for parity to check.
            with contextlib.suppress(BoxcarError):
                runner.detect(np.zeros([side, side, 3], np.uint8))
        # Not `getrusage`: on Linux a process inherits the peak of its parent.
        status = Path(f"/proc/{runner.process_id}/status")
        peak = _peak_bytes(status.read_text(encoding="ascii")) if status.exists() else None
    if sys.platform == "darwin":  # in bytes there, and not inherited
        whose = resource.RUSAGE_SELF if runner.process_id == os.getpid() else resource.RUSAGE_CHILDREN
        peak = resource.getrusage(whose).ru_maxrss
    Path(output).write_text("" if peak is None else str(peak), encoding="ascii")


def _peak_bytes(status: str) -> int | None:
    """From the text of `/proc/<id>/status`; kernels that emulate Linux may leave the line out."""
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), None)


if __name__ == "__main__":
    main()
