"""The program that one of `boxcar.records.workers`' processes runs: it answers tasks that come through a socket.

`python -m boxcar.records.worker N`, where N is the socket's file descriptor.
"""

import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from boxcar.errors import BoxcarError
from boxcar.records.check import check
from boxcar.records.shards import write_shard

TASKS: dict[str, Callable[[Any, Callable[[int], None]], Any]] = {"check": check, "write": write_shard}


def _serve(connection: Connection) -> None:
    """Answers tasks until the caller closes its end or dies."""
    # The caller alone hears Ctrl-C, says so, and ends its processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # Pillow warns of what is checked here anyway
    try:
        while True:
            name, task = connection.recv()
            try:
                answer = ("done", TASKS[name](task, lambda pictures: connection.send(("advance", pictures))))
            except BoxcarError as error:
                answer = ("refused", (error.code, error.what, error.do, error.details))
            except (EOFError, BrokenPipeError, ConnectionResetError):
                raise
            except Exception:  # noqa: BLE001 - it is handed to the caller, who raises it
                answer = ("defect", traceback.format_exc())
            connection.send(answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
