"""Finished runs for tests of the registry: what `boxcar models add` reads of one, written by hand or completed."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import google_crc32c

from boxcar.data.label_map import write_label_map
from boxcar.run.step import Step
from boxcar.storage import replace_json, replace_text

LABELS = {1: "cat", 2: "dog"}
KIND = "tflite_int8"


def write_run(
    run: Path,
    *,
    seed: int = 0,
    labels: dict[int, str] | None = None,
    train: tuple[str, ...] = (),
    test: tuple[str, ...] = ("t0.jpg", "t1.jpg"),
    initial: dict[str, str] | None = None,
) -> Path:
    """A run whose files are small and run nowhere. `seed` tells two apart; `train` and `test` name pictures."""
    labels = labels or LABELS
    with Step("records", run / "records", {"data": str(seed)}, {}).writing() as folder:
        (folder / "test-00000-of-00001.tfrecord").write_bytes(b"".join(record(name) for name in test))
        write_label_map(folder / "label_map.pbtxt", labels)
        images = {"train": [*train, f"train {seed}"], "validation": [f"validation {seed}"], "test": list(test)}
        splits = {split: {"images": sorted(map(sha256, names))} for split, names in images.items()}
        replace_json(folder / "dataset.json", {"version": sha256(f"data {seed}"), "splits": splits})
    with Step("freeze", run / "export" / "saved_model", {"seed": str(seed)}, {}).writing() as folder:
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint" / "ckpt-0.index").write_bytes(b"index %d" % seed)
        (folder / "checkpoint" / "ckpt-0.data-00000-of-00001").write_bytes(b"weights %d" % seed)
        specification = {"architecture": "ssd_mobilenet_v2_fpnlite_320x320", "image_size": 64, "labels": labels}
        replace_json(folder / "detector.json", {**specification, "initial_checkpoint": initial})
    owns = ("tflite", "tfjs", "manifest.json")
    with Step("convert", run / "export", {"seed": str(seed)}, {}, owns=owns).writing() as folder:
        (folder / "tflite").mkdir()
        (folder / "tflite" / "detector_int8.tflite").write_bytes(b"file %d" % seed)
        origin = {"checkpoint_step": 7, "checkpoint_sha256": sha256(f"checkpoint {seed}"), "code_version": "0.1.0"}
        others = dict.fromkeys(("code_revision", "image", "pipeline_version"))
        path = "tflite/detector_int8.tflite"
        file = {"path": path, "format": KIND, "bytes": 6, "sha256": sha256(f"file {seed}"), "AP50": 0.5, "AP": 0.3}
        replace_json(folder / "manifest.json", {"files": [file], "provenance": {**origin, **others}})
    write_scores(run)
    return run


def write_scores(run: Path, ap50: float = 0.6) -> None:
    """What evaluation leaves of the chosen checkpoint."""
    with Step("evaluate", run / "eval", {}, {}).writing() as folder:
        replace_json(folder / "test.json", {"AP": 0.4, "AP50": ap50, "step": 7})
        replace_text(folder / "scores.jsonl", json.dumps({"step": 7, "AP": 0.4, "AP50": 0.6}) + "\n")


def sha256(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def record(name: str, label: int = 1) -> bytes:
    """A framed record of a picture of this name, with one box; it has no pixels that could be decoded."""
    from boxcar.records.annotation import LabeledObject
    from boxcar.records.example_writer import encoded_example

    box = LabeledObject("cat", 10, 10, 50, 50, difficult=0, truncated=0, pose="")
    pieces = encoded_example(b"none", "jpeg", 100, 100, name, 1, sha256(name), [box], {"cat": label})
    payload = b"".join(pieces)
    head = struct.pack("<Q", len(payload))
    return head + _checksum(head) + payload + _checksum(payload)


def _checksum(content: bytes) -> bytes:
    crc = int(google_crc32c.value(content))
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
