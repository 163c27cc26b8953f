"""How much memory a process takes that does nothing but run an exported file.

python -m boxcar.inference.peak_memory PATH THREADS ANSWER

Beside the runners, and not with the conversion that asks: what that imports would be counted too.
"""

import contextlib
import os
import resource
import sys
from pathlib import Path

import numpy as np

from boxcar.errors import BoxcarError
from boxcar.inference.open import open_runner

_PICTURES = 3  # buffers that are kept from one to the next are there then


def main() -> None:
    """Writes the bytes into the file ANSWER; nothing where the system does not tell."""
    path, threads, answer = sys.argv[1:]
    with open_runner(Path(path), int(threads)) as runner:
        side = runner.specification.image_size
        for _ in range(_PICTURES):
            # What it answers is looked at elsewhere, and may be nonsense.
            with contextlib.suppress(BoxcarError):
                runner.detect(np.zeros([side, side, 3], np.uint8))
        # Not `getrusage`: on Linux a process inherits the peak of the one that started it.
        status = Path(f"/proc/{runner.process_id}/status")
        peak = _peak_bytes(status.read_text(encoding="ascii")) if status.exists() else None
    if sys.platform == "darwin":  # where it is in bytes, and inherits nothing
        whose = resource.RUSAGE_SELF if runner.process_id == os.getpid() else resource.RUSAGE_CHILDREN
        peak = resource.getrusage(whose).ru_maxrss
    Path(answer).write_text("" if peak is None else str(peak), encoding="ascii")


def _peak_bytes(status: str) -> int | None:
    """From the text of `/proc/<id>/status`; kernels that are not Linux's own may leave the line out."""
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), None)


if __name__ == "__main__":
    main()
