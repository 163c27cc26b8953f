"""What is learned in minutes, from random weights: Boxcar against Ultralytics YOLO11n on the same split, by the same scorer.

YOLO11n trains for a given time; Boxcar then gets half of what that took (drawn shapes) or as much (photographs): its steps are
chosen so by a short trial. Both choose their checkpoint on the validation pictures, evaluation being part of the time, and both
are scored on the test pictures by Boxcar's COCO scorer.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import (
    BOXCAR,
    SHARED,
    YOLO_PYTHON,
    Result,
    Row,
    answer,
    history,
    new_run,
    photographs,
    run,
    say,
    scratch,
    shapes_records,
)

from boxcar.data.example import Example, read_examples
from boxcar.data.label_map import read_label_map
from boxcar.inference.detections import Detections
from boxcar.scoring import GroundTruth, score

TRIAL_STEPS = 100  # in the first half of which the evaluator, too, loads TensorFlow and builds its network
MARGIN = 0.85  # of the time that the trial promises: machines are not steady, and the evaluator takes its share
RACCOON_AP50, RACCOON_AIM = 0.25, 0.36
TINY = {"shapes_seconds": 15, "raccoon_seconds": 30}


@dataclass(frozen=True)
class Trained:
    """Scores on the test pictures, and the seconds that training and evaluating took."""

    ap: float
    ap50: float
    seconds: float

    def __str__(self) -> str:
        return f"AP50 {self.ap50:.3f}, AP {self.ap:.3f} after {self.seconds:.0f} s"


def measure(*, shapes_seconds: int = 190, raccoon_seconds: int = 720) -> Result:
    result = Result()
    shapes = shapes_records(900, 128)
    yolo = train_yolo(shapes, 128, 16, shapes_seconds)
    ours = train_ours(shapes, 128, yolo.seconds / 2, "optimizer: adamw\naugmentations: [horizontal_flip]\n")
    reached = ours.ap >= yolo.ap and ours.seconds <= yolo.seconds / 2
    result.rows.append(
        Row(
            "shapes, 128 px", str(ours), f"{yolo} (YOLO11n)", f"{ours.ap - yolo.ap:+.3f} AP", "its AP in half its time", reached
        )
    )
    if (SHARED / "datasets" / "raccoon").is_dir():
        raccoon, _ = photographs()
        yolo = train_yolo(raccoon, 320, 16, raccoon_seconds)
        ours = train_ours(raccoon, 320, raccoon_seconds, "optimizer: adamw\n")
        asked = f"AP50 {RACCOON_AP50} in {raccoon_seconds / 60:.0f} minutes, goal {RACCOON_AIM}"
        reached = ours.ap50 >= RACCOON_AP50
        result.rows.append(
            Row("raccoon, 320 px", str(ours), f"{yolo} (YOLO11n)", f"{ours.ap50 - yolo.ap50:+.3f} AP50", asked, reached)
        )
    result.notes = [
        "Both sides train from random weights. The seconds include all evaluations; for Boxcar, they cover the whole process. "
        "Both sides choose their weights on the validation images (15%), and the same scorer scores the test images (15%). "
        "Boxcar runs with its defaults and AdamW, and for the shapes with the augmentation of examples/demo.yaml. YOLO11n "
        "runs with its defaults at batch 16, also with AdamW, which it chooses for short training runs."
    ]
    return result


def train_ours(records: Path, size: int, seconds: float, configuration: str) -> Trained:
    """Trains with the evaluator beside, for about so many seconds."""

    def train(folder: Path, steps: int, more: str = "") -> tuple[Path, float]:
        made = new_run(folder / "run", records)
        (folder / "config.yaml").write_text(configuration + more)
        command = [*BOXCAR, "train", "--run", made, "--init", "none", "--config", folder / "config.yaml"]
        ended = run([*command, "--image-size", size, "--steps", steps])
        return made, ended.seconds

    with scratch() as folder:
        made, trial = train(folder, TRIAL_STEPS, f"checkpoint_interval_steps: {TRIAL_STEPS}\n")
        half, end = (next(line for line in history(made) if line["step"] == step) for step in (TRIAL_STEPS // 2, TRIAL_STEPS))
    step_seconds = (end["seconds"] - half["seconds"]) / (TRIAL_STEPS // 2)
    start = trial - step_seconds * TRIAL_STEPS
    # A dozen checkpoints are scored meanwhile, each about as long as it takes to run the validation pictures.
    steps = max(int((seconds * MARGIN - start) / step_seconds), 20)
    say(f"  a trial: {step_seconds:.3f} s a step and {start:.0f} s beside, so {steps} steps for {seconds:.0f} s")
    with scratch() as folder:
        made, spent_seconds = train(folder, steps)
        test = json.loads((made / "eval" / "test.json").read_text())
    trained = Trained(test["AP"], test["AP50"], spent_seconds)
    say(f"  ours: {trained}")
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
    truths = [
        GroundTruth(width=test.width, height=test.height, boxes=test.boxes, labels=test.labels, is_crowd=test.is_crowd)
        for test in tests
    ]
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
