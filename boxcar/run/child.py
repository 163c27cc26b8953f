"""Child processes that end when their parent does, however that ends.

The parent keeps a pipe open that is the child's standard input. When the parent ends, even by SIGKILL, the kernel closes the
pipe, and a child that reads its end also ends. This works on Linux and macOS. The Node runner of TensorFlow.js files does the
same.
"""

import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from boxcar.errors import ExitCode


def start_child(module: str, arguments: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Starts `python -m module arguments`. The child ends with this process, or when its handle is discarded.

    `options` are further arguments of `subprocess.Popen`.
    """
    return subprocess.Popen([sys.executable, "-m", __name__, module, *arguments], stdin=subprocess.PIPE, **options)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(ExitCode.AGAIN)


def _main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
