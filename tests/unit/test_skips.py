"""What a test run says of the tests that it skips, and that none is skipped in CI for want of what can be had."""

import os
import subprocess
import sys

from external import ROOT, ZOO


def run_without_the_zoo(skip_nothing: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/unit/test_zoo.py::test_anchors"]
    variables = os.environ | {"BOXCAR_SHARED": "/nowhere", "BOXCAR_SKIP_NOTHING": skip_nothing}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120)


def test_the_last_lines_count_what_was_skipped_by_what_brings_it() -> None:
    ended = run_without_the_zoo("0")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1].split(maxsplit=1) == ["1", ZOO.reason]


def test_in_ci_it_fails_instead() -> None:
    ended = run_without_the_zoo("1")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert ZOO.reason in ended.stdout
