"""Input pipeline alone, 320 px, batch 8: Boxcar's against Model Garden's RetinaNet dataloader.

Both read the same records, decode, flip, jitter the scale, resize, match anchors and batch, under tf.data's autotuner; nobody
trains. In processes of their own, in turns.
"""

import sys

from measuring import ROOT, Result, Row, answer, median, photographs, run, say

SIZE, BATCH = 320, 8
LEAST_RATIO = 1.5
TINY = {"seconds": 3, "repetitions": 1}


def measure(*, seconds: int = 15, repetitions: int = 3) -> Result:
    records, data = photographs()
    child = ROOT / "benchmarks" / "input_pipeline_child.py"
    rates: dict[str, list[float]] = {"ours": [], "garden": []}
    for _ in range(repetitions):
        for side, found in rates.items():
            found.append(answer(run([sys.executable, child, side, records, SIZE, BATCH, seconds]))["images_per_second"])
            say(f"  {side}: {found[-1]:.0f} images/s")
    ours, garden = median(rates["ours"]), median(rates["garden"])
    ratio = ours / garden
    row = Row(
        f"input pipeline alone, {SIZE} px, flip and scale jitter",
        f"{ours:.0f} images/s",
        f"{garden:.0f} images/s (Model Garden)",
        f"{ratio:.2f} times",
        f"{LEAST_RATIO} times",
        ratio >= LEAST_RATIO,
    )
    note = (
        f"Both sides read {data}, with decoding, augmentation, resizing, and matching with anchors, for {seconds} seconds "
        f"after 30 batches, {repetitions} times, alternating. The figure is the median. Model Garden's side is the decoder and "
        "parser of its RetinaNet task (horizontal flip, scale 0.6 to 1.4). Boxcar's side is `training_batches` with "
        "horizontal_flip and scale_jitter (0.6 to 1.4)."
    )
    return Result([row], [note])
