"""A converter that goes wrong in the way that its first argument names. Run as `python -m failing_converter HOW [PATH]`."""

import os
import signal
import sys
import time
from pathlib import Path

from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.children import run_as_child


def main() -> None:
    how, *paths = sys.argv[1:]
    print(f"about to {how}", flush=True)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == "be killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "hang":
        time.sleep(600)
    elif how == "raise":
        raise RuntimeError("no such operation: FancyNMS")
    elif how == "refuse":
        raise BoxcarError(ExitCode.DATA, "A shard is damaged.", "Run `boxcar records` again.")
    elif how == "fill the disk":
        Path("/dev/full").write_text("x" * 100_000)
    elif how == "lie":
        os._exit(int(ExitCode.DATA))
    elif how == "write an empty file":
        Path(paths[0]).touch()
    elif how == "write a broken model":
        Path(paths[0]).mkdir()
        Path(paths[0], "model.json").write_text('{"modelTopology": {"node": ')
    elif how == "write its number and wait":
        Path(paths[0]).write_text(str(os.getpid()))
        time.sleep(600)


if __name__ == "__main__":
    run_as_child(main)
