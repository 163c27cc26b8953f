"""SavedModels at batch 1, from a picture to boxes: Boxcar's against Model Garden's serving export with its NMS."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from exports_detectors import ARCHITECTURE, Detector
from measuring import ROOT, Result, Row, answer, median, run, say

from boxcar.inference.detections import Detections
from boxcar.scoring import match

RETINANET = "retinanet_resnet50_fpn_640x640"
LEAST_RATIO = 4.0
SCORE_THRESHOLD = 0.05  # Model Garden's
CLASSES = 90
SAME_IOU, LEAST_SAME = 0.9, 0.9  # a box is the same from this overlap on, and so many must be


def compare_retinanet(result: Result, folder: Path, records: Path, repetitions: int, pictures: int) -> None:
    """Rows on one network with one set of weights, exported by both; by Model Garden with two versions of its NMS."""
    garden = export_garden("retinanet", folder / "garden-retinanet", records, ["v2", "batched"])
    ours = Detector(folder / "retinanet", records)
    ours.freeze(RETINANET, garden / "ckpt-1", "--score-threshold", SCORE_THRESHOLD)
    sides = {"ours": ours.frozen, "garden v2": garden / "v2", "garden batched": garden / "batched"}
    found = _time(sides, records, repetitions, pictures)
    for side in ("garden v2", "garden batched"):
        same = _share_of_same(found["ours"]["detections"], found[side]["detections"])
        say(f"  {same:.0%} of what Boxcar's finds are found by {side}, of {len(found['ours']['detections']['scores'])}")
        if same < LEAST_SAME:
            sys.exit(f"Boxcar's SavedModel and Model Garden's ({side}) do not detect the same.")
    size = ours.specification().image_size
    row = f"SavedModel, batch 1, image to boxes; RetinaNet ResNet-50 FPN, {size} px, {CLASSES} classes"
    _add_row(result, row, found["ours"], found["garden v2"], "Model Garden's export", asked=True)
    _add_row(result, "the same", found["ours"], found["garden batched"], "its NMS set to `batched`")
    result.notes.append(
        "SavedModel: from a photograph's uint8 pixels to boxes, scores, and classes as arrays, resizing included, oneDNN on; "
        f"both with a score threshold of {SCORE_THRESHOLD}, an IoU threshold of 0.6, and at most 100 detections. Model "
        "Garden's side is its `export_inference_graph` with `image_tensor` at batch 1 and its own NMS: by default `v2`, which "
        "goes through 5,000 boxes of each class no matter how many objects there are. RetinaNet ResNet-50 FPN is the same "
        "network with the same random weights on both sides; the class predictor is scaled so that 1,000 scores are above the "
        "threshold. Both find the same boxes. With `batched`, Model Garden's NMS is the operator that Boxcar always uses."
    )


def compare_mobilenet(result: Result, folder: Path, records: Path, zoo: Path, repetitions: int, pictures: int) -> None:
    """A row on the zoo's detector, against the nearest that Model Garden has."""
    garden = export_garden("mobilenet", folder / "garden-mobilenet", records, ["v2"])
    ours = Detector(folder / "zoo-serving", records)
    ours.freeze(ARCHITECTURE, zoo, "--score-threshold", SCORE_THRESHOLD)
    found = _time({"ours": ours.frozen, "garden": garden / "v2"}, records, repetitions, pictures)
    size = ours.specification().image_size
    row = f"SavedModel, batch 1, image to boxes; MobileNetV2, {size} px, {CLASSES} classes"
    _add_row(result, row, found["ours"], found["garden"], "Model Garden's export", asked=True)
    result.notes.append(
        "MobileNetV2 is the zoo's checkpoint with SSD FPNLite on Boxcar's side. Model Garden's side is its RetinaNet with a "
        "separable FPN, heads of 128 channels, and random weights: a network of the same size, but not the same network."
    )


def export_garden(network: str, folder: Path, records: Path, versions: list[str]) -> Path:
    """A folder with Model Garden's checkpoint `ckpt-1` and a SavedModel for each version of its NMS."""
    run([sys.executable, ROOT / "benchmarks" / "exports_garden_child.py", network, folder, records, *versions])
    return folder


def _time(sides: dict[str, Path], records: Path, repetitions: int, pictures: int) -> dict[str, dict[str, Any]]:
    """Of each side `milliseconds`, and the `detections` of a picture that needs no resizing."""
    child = ROOT / "benchmarks" / "exports_saved_model_child.py"
    found: dict[str, dict[str, Any]] = {}
    milliseconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(repetitions):
        for side, folder in sides.items():
            found[side] = answer(run([sys.executable, child, side.split()[0], folder, records, pictures], onednn=True))
            milliseconds[side] += found[side]["milliseconds"]
            say(f"  SavedModel {side}: {median(milliseconds[side]):.1f} ms")
    return {side: {**found[side], "milliseconds": median(milliseconds[side])} for side in sides}


def _add_row(
    result: Result, what: str, ours: dict[str, Any], theirs: dict[str, Any], name: str, *, asked: bool = False
) -> None:
    ratio = theirs["milliseconds"] / ours["milliseconds"]
    result.rows.append(
        Row(
            what,
            f"{ours['milliseconds']:.0f} ms",
            f"{theirs['milliseconds']:.0f} ms ({name})",
            f"{ratio:.1f} times",
            f"{LEAST_RATIO:g} times" if asked else "",
            ratio >= LEAST_RATIO if asked else None,
        )
    )


def _share_of_same(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    one, other = _detections(ours), _detections(theirs)
    return float(np.mean(match(one, other, min_score=SCORE_THRESHOLD).iou >= SAME_IOU)) if len(one.scores) else 1.0


def _detections(found: dict[str, Any]) -> Detections:
    return Detections(
        boxes=np.asarray(found["boxes"], np.float32).reshape(-1, 4),
        scores=np.asarray(found["scores"], np.float32),
        classes=np.asarray(found["classes"], np.int64),
    )
