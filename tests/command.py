"""The command `boxcar`, in a process of its own or in the tests' own."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path


def boxcar(*arguments: str, timeout: float = 120, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "boxcar", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=cwd)


def boxcar_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As `boxcar`, without a process: for what a command says and writes, where how it starts and ends is not the question."""
    from boxcar.cli.main import app
    from boxcar.process import call_command

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = call_command(app, arguments)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def done(*arguments: str, timeout: float = 900) -> str:
    """What a command prints that must end well."""
    ended = boxcar(*arguments, timeout=timeout)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def last_words(ended: subprocess.CompletedProcess[str], code: int) -> str:
    """The last line on stderr, with no traceback anywhere."""
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr.splitlines()[-1]
