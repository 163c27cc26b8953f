"""Evaluator, 320 px: pictures a second from a checkpoint to its COCO scores, Boxcar's against the Object Detection API's.

Both score the same checkpoint (trained for some steps by Boxcar, whose names are the API's) on the same pictures.
"""

import sys

from measuring import API, API_PYTHON, BOXCAR, ROOT, Result, Row, answer, median, new_run, photographs, run, say, scratch

SIZE = 320
SPLIT = "train"  # the largest: what is measured is speed
LEAST_RATIO = 5.0
TINY = {"steps": 2, "repetitions": 1}


def measure(*, steps: int = 60, repetitions: int = 3) -> Result:
    records, data = photographs()
    result = Result()
    with scratch() as folder:
        made = new_run(folder / "run", records)
        command = [*BOXCAR, "train", "--run", made, "--evaluator", "none", "--init", "none", "--image-size", SIZE]
        run([*command, "--batch-size", 8, "--steps", steps])
        prefix = made / "train" / f"ckpt-{steps}"
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        steady = []
        for _ in range(repetitions):
            # The command sets its own defaults; this child calls the library beneath it.
            ours = answer(run([sys.executable, ROOT / "benchmarks" / "evaluator_child.py", made, SPLIT], onednn=True))
            theirs = answer(run([API_PYTHON, API / "evaluate.py", records, SPLIT, SIZE, 1, prefix]))
            seconds["ours"].append(ours["seconds"])
            seconds["theirs"].append(theirs["seconds"])
            steady.append(theirs["steady"])
            say(f"  {ours['seconds']:.2f} s (AP {ours['AP']:.4f}), theirs {theirs['seconds']:.2f} s (AP {theirs['AP']:.4f})")
        count = ours["pictures"]
        ours_seconds, theirs_seconds, theirs_steady = (median(values) for values in (*seconds.values(), steady))
        ratio = theirs_seconds / ours_seconds
        result.rows.append(
            Row(
                f"evaluator, {SIZE} px, {count} images from checkpoint to scores",
                f"{count / ours_seconds:.1f} images/s",
                f"{count / theirs_seconds:.1f} images/s",
                f"{ratio:.1f} times",
                f"{LEAST_RATIO:g} times",
                ratio >= LEAST_RATIO,
            )
        )
        result.rows.append(
            Row(
                "the same without the API's cost per checkpoint before its first image",
                f"{count / ours_seconds:.1f} images/s",
                f"{theirs_steady:.1f} images/s",
                f"{count / ours_seconds / theirs_steady:.1f} times",
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
        f"Both sides score a checkpoint after {steps} steps on the training split of {data}, {repetitions} times, alternating, "
        "each in its own process. The figure is the median of the second evaluation in a process: restore the checkpoint, run "
        "over the images, score. The API's side is its `eager_eval_loop` with COCO metrics and its default batch of 1; it "
        "traces its graph again for each checkpoint. Boxcar enables oneDNN. The API runs at its defaults: with oneDNN on a "
        "CPU without AVX-512, it takes more than a second per image."
    ]
    return result
