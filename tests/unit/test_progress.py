"""On a terminal, the bar moves while the main thread is busy. Elsewhere, plain lines are printed."""

import subprocess
import sys

from terminal import Terminal

# tensorflow_datasets replaces `builtins.__import__` in this way while it is loaded, for milliseconds; here it takes seconds.
LOADING = """
import time
from etils import epy
from boxcar.run.progress import Progress
with Progress("Training", 4, "steps") as progress:
    progress.note("loading")
    with epy.lazy_imports():
        time.sleep(1.5)
        progress.advance(1, "loss [0.5]")
        time.sleep(0.5)
    progress.say("a line [above]")
    for _ in range(3):
        progress.advance(1)
        time.sleep(0.4)
"""


def test_the_bar_moves_while_imports_are_lazy_and_after_it() -> None:
    with Terminal([sys.executable, "-c", LOADING]) as terminal:
        pass
    assert terminal.process.returncode == 0, terminal.text
    bars = terminal.bars
    assert any("0/4" in bar and "0:00:01" in bar and bar.endswith("loading") for bar in bars), "the clock runs"
    for done in (1, 2, 3, 4):
        assert any(f"{done}/4" in bar and bar.endswith("loss [0.5]") for bar in bars), done
    assert "a line [above]" in terminal.text.splitlines()
    assert "Traceback" not in terminal.text


def test_without_a_terminal_there_is_one_line_at_the_end() -> None:
    program = LOADING.replace("1.5", "0").replace("0.4", "0.01").replace("0.5)", "0)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    above, last = done.stderr.splitlines()
    assert above == "a line [above]"
    assert last.startswith("Training: 4 of 4 steps, ")
    assert last.endswith("loss [0.5]")
