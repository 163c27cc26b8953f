"""What is learned in minutes: Boxcar's default run, from packaged weights, against its own training without them, against SGD,
and against Ultralytics YOLO11n.

Every figure of a photographs' set is the mean over three seeds, which also decide the split. The checkpoint is chosen on the
validation images. The test images are scored by Boxcar's COCO scorer for both sides.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from measuring import (
    BOXCAR,
    ROOT,
    SHARED,
    YOLO_PYTHON,
    Result,
    Row,
    answer,
    median,
    photographs,
    run,
    say,
    scratch,
    shapes_data,
)

from boxcar.data.example import Example, read_examples
from boxcar.data.ground_truth import ground_truth_of
from boxcar.data.label_map import read_label_map
from boxcar.inference.detections import Detections
from boxcar.scoring import score

# A folder of labeled sets, one folder each, that are trained for STEPS steps: sets that nothing was tuned on.
SETS = os.environ.get("BOXCAR_BENCH_SETS")
STEPS = 280
AP50_WANTED, SECONDS_WANTED, SECONDS_AIM = 0.90, 180, 90
RACCOON_AP50, RACCOON_AP = 0.95, 0.58
FASTER = 1.4
SAME_AP = 0.01  # two scores that differ by less count as the same
TINY = {"seeds": 1, "steps": 20, "yolo_seconds": 30}


@dataclass(frozen=True)
class Trained:
    """Scores on the test images, and the seconds of the whole process."""

    ap: float
    ap50: float
    seconds: float
    # Of each checkpoint, oldest first: AP50, AP, and the seconds from the command's start to its writing.
    curve: tuple[tuple[float, float, float], ...] = ()

    def __str__(self) -> str:
        return f"AP50 {self.ap50:.3f}, AP {self.ap:.3f} after {self.seconds:.0f} s"

    def seconds_to(self, *, ap50: float = 0.0, ap: float = 0.0) -> float:
        """The seconds after which a checkpoint scores as much; infinity if none does."""
        return next((one[2] for one in self.curve if one[0] >= ap50 and one[1] >= ap), float("inf"))


def measure(*, seeds: int = 3, steps: int | None = None, yolo_seconds: int = 720) -> Result:
    result = Result()
    raccoon = SHARED / "datasets" / "raccoon"
    if raccoon.is_dir():
        records, _ = photographs()
        yolo = train_yolo(records, 320, 16, yolo_seconds)
        runs = [train_ours(raccoon, seed, whole=True, steps=steps) for seed in range(seeds)]
        reached = median([one.seconds_to(ap50=AP50_WANTED) for one in runs])
        result.rows.append(
            Row(
                f"raccoon, 320 px, to test AP50 {AP50_WANTED}",
                f"{reached:.0f} s",
                f"{yolo} (YOLO11n)",
                "",
                f"{SECONDS_WANTED} s, goal {SECONDS_AIM} s",
                reached <= SECONDS_WANTED,
            )
        )
        random = train_ours(raccoon, 0, steps=steps, init="none")
        met = mean(one.ap50 for one in runs) >= RACCOON_AP50 and mean(one.ap for one in runs) >= RACCOON_AP
        result.rows.append(
            Row("raccoon, default run", together(runs), f"{random} (random weights)", "", f"{RACCOON_AP50} / {RACCOON_AP}", met)
        )
        result.rows.append(faster("raccoon", runs[0], train_ours(raccoon, 0, steps=steps, configuration="optimizer: sgd\n")))
    shapes, small = shapes_data(900, 128), "image_size: 128\naugmentations: [horizontal_flip]\n"
    ours, sgd = (train_ours(shapes, 0, steps=steps, configuration=small + more) for more in ("", "optimizer: sgd\n"))
    result.rows.append(faster("drawn shapes, 128 px", ours, sgd))
    for folder in sorted(Path(SETS).iterdir()) if SETS else ():
        runs = [train_ours(folder, seed, steps=steps or STEPS) for seed in range(seeds)]
        random = train_ours(folder, 0, steps=steps or STEPS, init="none")
        result.rows.append(
            Row(f"{folder.name}, {STEPS} steps of 8 images", together(runs), f"{random} (random weights)", "", "", None)
        )
    result.notes = [
        "Boxcar runs with its defaults, from packaged weights where nothing else is said. The seconds cover the whole process, "
        "the evaluator on the same cores included, and exports in the default run. Means are over three seeds, with the range "
        "in parentheses. YOLO11n starts from random weights, because no other weights can be had here; its seconds are those "
        "of its training. The time to a score is that of the first checkpoint that reaches it on the test images.",
    ]
    return result


def together(runs: Sequence[Trained]) -> str:
    """The mean of several runs, and their range."""

    def said(values: list[float], form: str = ".3f") -> str:
        return f"{mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"

    seconds = said([one.seconds for one in runs], ".0f")
    return f"AP50 {said([one.ap50 for one in runs])}, AP {said([one.ap for one in runs])}, {seconds} s"


def faster(what: str, ours: Trained, theirs: Trained) -> Row:
    """How much sooner one run has what another reaches at last, less what counts as the same."""
    wanted = max(ap for _, ap, _ in theirs.curve) - SAME_AP
    own, other = ours.seconds_to(ap=wanted), theirs.seconds_to(ap=wanted)
    ratio = other / own
    return Row(
        f"{what}, to test AP {wanted:.3f}",
        f"{own:.0f} s",
        f"{other:.0f} s (SGD)",
        f"{ratio:.2f} times",
        f"{FASTER} times",
        ratio >= FASTER,
    )


def train_ours(
    data: Path, seed: int, *, steps: int | None = None, init: str = "packaged", configuration: str = "", whole: bool = False
) -> Trained:
    """A run with Boxcar's defaults: to its report if `whole`, else to the last score. Every checkpoint is scored on test."""
    with scratch() as folder:
        (folder / "config.yaml").write_text(f"{configuration}keep_last: 1000\non_fault: skip\n")
        made = folder / "run"
        command = [*BOXCAR, "run", "--data", data, "--output", made, "--config", folder / "config.yaml", "--seed", seed]
        command += ["--init", init, *(["--steps", steps] if steps else []), *([] if whole else ["--until", "train"])]
        started = time.time()
        ended = run(command)
        test = json.loads((made / "eval" / "test.json").read_text())
        checkpoints = answer(run([BOXCAR[0], ROOT / "benchmarks" / "learning_child.py", made]))["checkpoints"]
        curve = tuple((one["AP50"], one["AP"], one["written"] - started) for one in checkpoints)
    trained = Trained(test["AP"], test["AP50"], ended.seconds, curve)
    say(f"  {data.name}, seed {seed}, {init}: {trained}; AP50 {AP50_WANTED} after {trained.seconds_to(ap50=AP50_WANTED):.0f} s")
    return trained


def train_yolo(records: Path, size: int, batch: int, seconds: int) -> Trained:
    """Trains YOLO11n on the same split and scores it on the test pictures."""
    labels = read_label_map(records / "label_map.pbtxt")
    with scratch() as folder:
        tests = [write_yolo(records, split, folder) for split in ("train", "validation", "test")][-1]
        names = {index: labels[label] for index, label in enumerate(sorted(labels))}
        data = {"path": str(folder), "train": "images/train", "val": "images/validation", "names": names}
        (folder / "data.yaml").write_text(json.dumps(data))  # JSON is YAML
        found = answer(run([YOLO_PYTHON, "benchmarks/yolo11n.py", folder, size, batch, seconds]))
    ids = sorted(labels)
    truths = [ground_truth_of(test) for test in tests]
    detections = [detected(found["detections"][stem(number, test)], ids) for number, test in enumerate(tests)]
    scores = score(truths, detections, labels)
    trained = Trained(scores["AP"], scores["AP50"], found["seconds"])
    say(f"  YOLO11n: {trained}")
    return trained


def stem(number: int, example: Example) -> str:
    return f"{number:05d}-{example.sha256[:12]}"


def write_yolo(records: Path, split: str, folder: Path) -> list[Example]:
    """A split of the records in YOLO's layout, and its examples."""
    examples = list(read_examples(sorted(records.glob(f"{split}-*.tfrecord"))))
    ids = sorted(read_label_map(records / "label_map.pbtxt"))
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True)
    for number, example in enumerate(examples):
        ending = ".png" if example.encoded.startswith(b"\x89PNG") else ".jpg"
        (folder / "images" / split / (stem(number, example) + ending)).write_bytes(example.encoded)
        lines = []
        for (top, left, bottom, right), label in zip(example.boxes.tolist(), example.labels.tolist(), strict=True):
            numbers = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            lines.append(" ".join([str(ids.index(label)), *(f"{value:.6f}" for value in numbers)]))
        (folder / "labels" / split / f"{stem(number, example)}.txt").write_text("\n".join(lines) + "\n")
    return examples


def detected(found: dict[str, Any], ids: list[int]) -> Detections:
    order = np.argsort(-np.asarray(found["scores"], np.float32), kind="stable")
    return Detections(
        boxes=np.asarray(found["boxes"], np.float32).reshape(-1, 4)[order],
        scores=np.asarray(found["scores"], np.float32)[order],
        classes=np.asarray([ids[index] for index in found["classes"]], np.int64)[order],
    )
