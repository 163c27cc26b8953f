"""What checkpoints and summaries cost: 1,000 steps with them at their default intervals, and without; and with an evaluator.

At 128 px, batch 8, where a step is short and a checkpoint therefore dear. Timed from the first loop's end, when the graph is
built, to the end of the process.
"""

import sys
import time
from pathlib import Path

from measuring import BOXCAR, ROOT, Result, Row, history, median, new_run, run, say, scratch, shapes_records

SIZE, BATCH = 128, 8
MOST_SHARE = 0.05
TINY = {"steps": 30, "repetitions": 1}


def measure(*, steps: int = 1000, repetitions: int = 2) -> Result:
    records = shapes_records(300, SIZE)
    seconds: dict[str, list[float]] = {"with": [], "without": [], "evaluator": []}

    def timed(label: str, command: list[object], made: Path) -> None:
        first: list[float] = []

        def watch() -> None:
            if not first and history(made):
                first.append(time.perf_counter())

        run(command, onednn=True, watch=watch)
        seconds[label].append(time.perf_counter() - first[0])
        say(f"  {label}: {seconds[label][-1]:.1f} s")

    train = ["--init", "none", "--image-size", SIZE, "--batch-size", BATCH, "--steps", steps]
    for repetition in range(repetitions):
        with scratch() as folder:
            made = new_run(folder / "run", records)
            timed("with", [*BOXCAR, "train", "--run", made, "--evaluator", "none", *train], made)
        with scratch() as folder:
            made = new_run(folder / "run", records)
            child = ROOT / "benchmarks" / "checkpoints_child.py"
            timed("without", [sys.executable, child, made, SIZE, BATCH, steps], made)
        if repetition == 0:
            with scratch() as folder:
                made = new_run(folder / "run", records)
                timed("evaluator", [*BOXCAR, "train", "--run", made, *train], made)
    without = median(seconds["without"])
    share, evaluated = (median(seconds[label]) / without - 1 for label in ("with", "evaluator"))
    result = Result()
    result.rows.append(
        Row(
            f"{steps:,} steps with checkpoints and summaries, evaluator off",
            f"{median(seconds['with']):.1f} s",
            f"{without:.1f} s without them",
            f"{share:+.1%}",
            f"under {MOST_SHARE:.0%}",
            share < MOST_SHARE,
        )
    )
    result.rows.append(
        Row("the same with the evaluator on the same cores", f"{median(seconds['evaluator']):.1f} s", "", f"{evaluated:+.1%}")
    )
    result.notes = [
        f"Both sides train at {SIZE} px with batch {BATCH} on 300 drawn images, and save checkpoints at the default interval. "
        f"The time runs from the end of the first ten steps to the end of the process, {repetitions} times, alternating. With "
        "the evaluator, it runs until the last checkpoint is scored."
    ]
    return result
