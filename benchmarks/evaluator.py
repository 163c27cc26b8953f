"""Evaluator, 320 px: pictures a second from a checkpoint to its COCO scores, Boxcar's against the Object Detection API's.

Both score the same checkpoint (trained for some steps by Boxcar, whose names are the API's) on the same pictures.
"""

import sys

from measuring import API, API_PYTHON, BOXCAR, ROOT, Result, Row, answer, new_run, photographs, run, say, scratch

SIZE = 320
SPLIT = "train"  # the largest: what is measured is speed
LEAST_RATIO = 5.0
TINY = {"steps": 2}


def measure(*, steps: int = 60) -> Result:
    records, data = photographs()
    result = Result()
    with scratch() as folder:
        made = new_run(folder / "run", records)
        command = [*BOXCAR, "train", "--run", made, "--evaluator", "none", "--init", "none", "--image-size", SIZE]
        run([*command, "--batch-size", 8, "--steps", steps])
        prefix = made / "train" / f"ckpt-{steps}"
        # The command sets its own defaults; this child calls the library beneath it.
        ours = answer(run([sys.executable, ROOT / "benchmarks" / "evaluator_child.py", made, SPLIT], onednn=True))
        theirs = answer(run([API_PYTHON, API / "evaluate.py", records, SPLIT, SIZE, 1, prefix]))
        count = ours["pictures"]
        say(f"  {count} pictures: {ours['seconds']:.2f} s (AP {ours['AP']:.4f}), theirs {theirs['seconds']:.2f} s")
        say(f"  theirs after the first pictures: {theirs['steady']:.1f} images/s; AP {theirs['AP']:.4f}")
        ratio = theirs["seconds"] / ours["seconds"]
        result.rows.append(
            Row(
                f"evaluator, {SIZE} px, {count} pictures from checkpoint to scores",
                f"{count / ours['seconds']:.1f} images/s",
                f"{count / theirs['seconds']:.1f} images/s",
                f"{ratio:.1f} times",
                f"{LEAST_RATIO:g} times",
                ratio >= LEAST_RATIO,
            )
        )
        result.rows.append(
            Row(
                "the same without what each checkpoint costs the API before its first picture",
                f"{count / ours['seconds']:.1f} images/s",
                f"{theirs['steady']:.1f} images/s",
                f"{count / ours['seconds'] / theirs['steady']:.1f} times",
            )
        )
        result.rows.append(
            Row(
                "AP, AP50 of that checkpoint",
                f"{ours['AP']:.4f}, {ours['AP50']:.4f}",
                f"{theirs['AP']:.4f}, {theirs['AP50']:.4f}",
            )
        )
    result.notes = [
        f"On {data}, its training split; a checkpoint after {steps} steps. The second or later checkpoint of a process: "
        "restored, run over the pictures, scored. The API's side is its `eager_eval_loop` with COCO metrics and its default "
        "batch of 1; it traces its graph for each checkpoint anew. Boxcar runs with oneDNN, which it turns on; the API at its "
        "defaults: with oneDNN on a CPU without AVX-512 it takes more than a second for a picture."
    ]
    return result
