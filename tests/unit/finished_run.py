"""A finished run as the steps leave it, made by hand for tests of what comes after: real records, believable curves."""

import hashlib
import io
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from example_bytes import example, floats, frame, integers, texts
from PIL import Image

from boxcar.run.step import Step
from boxcar.shapes import CLASSES, draw_scenes
from boxcar.storage import replace_json, replace_text

PARTS = {"train": 40, "validation": 8, "test": 12}
PIXELS = 192


def write_run(run: Path, names: tuple[str, ...] = CLASSES, file_name: str = "shapes-{:04d}.jpg") -> Path:
    """Writes the run; `names` are what circle, square and triangle are called in it."""
    run.mkdir(parents=True)
    replace_text(run / "config.yaml", "data: data/shapes\narchitecture: ssd_mobilenet_v2_fpnlite_320x320\n")
    scenes = list(draw_scenes(sum(PARTS.values()), PIXELS, seed=11))
    split, first, pictures = {}, 0, {}
    with committing("records", run / "records") as folder:
        for part, count in PARTS.items():
            frames, hashes, labels = [], [], []
            for number, scene in enumerate(scenes[first : first + count], first + 1):
                buffer = io.BytesIO()
                Image.fromarray(scene.pixels).save(buffer, "JPEG", quality=90)
                boxes = np.array([shape.box for shape in scene.shapes], np.float32) / PIXELS
                ids = [CLASSES.index(shape.label) + 1 for shape in scene.shapes]
                sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
                frames.append(frame(labelled(buffer.getvalue(), file_name.format(number), sha256, boxes, ids)))
                hashes.append(sha256)
                labels += ids
                pictures[sha256] = (part, boxes, ids)
            (folder / f"{part}-00000-of-00001.tfrecord").write_bytes(b"".join(frames))
            per_class = {name: labels.count(label) for label, name in enumerate(names, 1)}
            split[part] = {"pictures": count, "negatives": 0, "boxes": len(labels), "per_class": per_class, "images": hashes}
            first += count
        replace_text(folder / "label_map.pbtxt", "".join(f"item {{ id: {i} name: 'x{i}' }}\n" for i in range(1, 4)))
        replace_json(
            folder / "dataset.json",
            {
                "version": "5e" * 32,
                "splits": split,
                "faults": [],
                "warnings": [],
                "clipped_boxes": 0,
                "other": {"key": 1},
                "picture_width": {"min": PIXELS, "median": PIXELS, "max": PIXELS},
                "picture_height": {"min": PIXELS, "median": PIXELS, "max": PIXELS},
                "relative_box_size": {"min": 0.18, "median": 0.3, "max": 0.45, "0.05": 0.2},
            },
        )
    with committing("train", run / "train", {"steps": 900}) as folder:
        replace_text(folder / "history.jsonl", "".join(json.dumps(point) + "\n" for point in history()))
    tests = [(sha256, boxes, ids) for sha256, (part, boxes, ids) in pictures.items() if part == "test"]
    with committing("evaluate", run / "eval") as folder:
        replace_text(folder / "scores.jsonl", "".join(json.dumps(score(step, names)) + "\n" for step in range(75, 901, 75)))
        replace_json(
            folder / "test.json",
            {
                **score(825, names),
                "AP": 0.803,
                "AP50": 0.964,
                "split": "test",
                "pictures": PARTS["test"],
                "examples": [
                    {"sha256": sha256, "detections": detections(number, boxes, ids, names)}
                    for number, (sha256, boxes, ids) in enumerate(tests)
                ],
            },
        )
    labels_by_id = dict(enumerate(names, 1))
    with committing("freeze", run / "export" / "saved_model") as folder:
        replace_json(
            folder / "detector.json",
            {"architecture": "ssd_mobilenet_v2_fpnlite_320x320", "image_size": 128, "labels": labels_by_id},
        )
    with committing("convert", run / "export", owns=("tflite", "tfjs", "manifest.json")) as folder:
        replace_json(folder / "manifest.json", {"files": files(), "threads": 2, "pictures": {"test": 12, "validation": 8}})
    return run


def committing(name: str, folder: Path, parameters: dict[str, Any] | None = None, owns: tuple[str, ...] | None = None) -> Any:
    seconds = {"records": 1.4, "train": 151.2, "evaluate": 163.9, "freeze": 9.3, "convert": 48.0}[name]
    return Step(name, folder, {}, parameters or {}, owns=owns, started=time.monotonic() - seconds).writing()


def rewrite(run: Path, step: str, folder: str, file: str, change: Any) -> None:
    """Changes a JSON file of a finished step and commits the step again."""
    path = run / folder / file
    content = json.loads(path.read_text())
    replace_json(path, change(content) or content)
    Step(step, run / folder, {}, {}, owns=("tflite", "tfjs", "manifest.json") if step == "convert" else None).commit()


def labelled(encoded: bytes, name: str, sha256: str, boxes: Any, ids: list[int]) -> bytes:
    edges = {"xmin": 0, "ymin": 1, "xmax": 2, "ymax": 3}
    return example(
        image__encoded=(1, texts(encoded)),
        image__filename=(1, texts(name.encode())),
        image__key__sha256=(1, texts(sha256.encode())),
        image__height=(3, integers(PIXELS)),
        image__width=(3, integers(PIXELS)),
        image__object__class__label=(3, integers(*ids)),
        **{f"image__object__bbox__{edge}": (2, floats(*boxes[:, place])) for edge, place in edges.items()},
    )


def history() -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    points = []
    for step in range(5, 901, 5):
        wobble = float(1 + 0.12 * rng.standard_normal())
        naming, placing = 1.1 * math.exp(-step / 160) + 0.09, 0.7 * math.exp(-step / 220) + 0.05
        rate = 0.04 * min(step / 45, 0.5 + 0.5 * math.cos(math.pi * max(step - 45, 0) / 855))
        points.append(
            {
                "step": step,
                "loss": (naming + placing) * wobble + 0.08,
                "classification_loss": naming * wobble,
                "localization_loss": placing * wobble,
                "regularization_loss": 0.08,
                "learning_rate": rate,
                "images_per_second": 96 + 5 * float(rng.standard_normal()),
                "seconds": step / 6,
            }
        )
    return points


def score(step: int, names: tuple[str, ...]) -> dict[str, Any]:
    ap = 0.81 * (1 - math.exp(-max(step - 60, 0) / 170))
    ap50 = min(1.0, 1.2 * ap)
    return {
        "step": step, "AP": ap, "AP50": ap50, "AP75": ap * 1.05, "AP_small": None, "AP_medium": ap * 0.95,
        "AP_large": ap, "AR_1": ap * 0.5, "AR_10": ap * 1.05, "AR_100": ap * 1.06,
        "per_class": {
            name: {"AP": ap + offset, "AP50": min(1.0, ap50 + offset), "boxes": boxes}
            for name, offset, boxes in zip(names, (0.03, 0.01, -0.04), (82, 79, 80), strict=True)
        },
        "seconds": 4.1,
    }  # fmt: skip


def detections(number: int, boxes: Any, ids: list[int], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """What a good detector finds: boxes a little off, now and then one missed, a wrong name, and something weak."""
    rng = np.random.default_rng(number)
    found = []
    for place, (box, label) in enumerate(zip(boxes, ids, strict=True)):
        if number == 3 and place == 0:
            continue
        label = label % 3 + 1 if number == 5 and place == 0 else label
        off = box + rng.normal(0, 0.012, 4)
        found.append([[off[1], off[0], off[3], off[2]], float(rng.uniform(0.6, 0.99)), label])
    found.append([[0.1, 0.1, 0.4, 0.3], 0.06, 1])
    return [
        {"box": [float(edge) for edge in box], "score": value, "class": names[label - 1], "id": label}
        for box, value, label in sorted(found, key=lambda one: -one[1])
    ]


def files() -> list[dict[str, Any]]:
    rows = (
        ("saved_model", "saved_model", 14_312_877, 0.964, 0.803, 31.4, True),
        ("tflite/detector_float32.tflite", "tflite_float32", 11_207_344, 0.964, 0.803, 9.6, True),
        ("tflite/detector_int8.tflite", "tflite_int8", 3_498_112, 0.958, 0.781, 4.2, True),
        ("tfjs/float32", "tfjs_float32", 11_391_020, 0.964, 0.803, 42.0, True),
    )
    return [
        {"path": path, "format": kind, "bytes": size, "sha256": hashlib.sha256(path.encode()).hexdigest(),
         "AP50": ap50, "AP": ap, "milliseconds": milliseconds, "agrees": agrees,
         "peak_memory_bytes": size + 60_000_000, "compared": {"pictures": 20}}
        for path, kind, size, ap50, ap, milliseconds, agrees in rows
    ]  # fmt: skip
