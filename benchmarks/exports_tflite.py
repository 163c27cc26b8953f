"""INT8 TFLite against float32 TFLite in time and size, and against the SavedModel in AP50."""

import sys
from collections.abc import Sequence

from exports_detectors import Detector
from measuring import ROOT, Result, Row, answer, median, run, say

LEAST_RATIO = 1.8
MOST_SIZE = 1 / 3
MOST_DIFFERENCE = 0.01
THREADS = 2


def time_int8(result: Result, detector: Detector, repetitions: int, pictures: int) -> None:
    """Rows on how fast and how large the INT8 file is."""
    files = {kind: detector.folder / "tflite" / f"detector_{kind}.tflite" for kind in ("int8", "float32")}
    child = ROOT / "benchmarks" / "exports_tflite_child.py"
    network: dict[str, list[float]] = {kind: [] for kind in files}
    detections: dict[str, list[float]] = {kind: [] for kind in files}
    for _ in range(repetitions):
        for kind, file in files.items():
            found = answer(run([sys.executable, child, file, detector.records, THREADS, pictures]))
            network[kind] += found["network"]
            detections[kind] += found["detections"]
            say(f"  TFLite {kind}: {median(found['network']):.2f} ms, with decoding {median(found['detections']):.2f} ms")
    size = detector.specification().image_size
    ours, theirs = median(detections["int8"]), median(detections["float32"])
    result.rows.append(
        Row(
            f"INT8 TFLite, {size} px, {THREADS} threads, from preprocessed pixels to detections",
            f"{ours:.2f} ms",
            f"{theirs:.2f} ms (our float32 TFLite)",
            f"{theirs / ours:.2f} times",
            f"{LEAST_RATIO} times",
            theirs / ours >= LEAST_RATIO,
        )
    )
    ours, theirs = median(network["int8"]), median(network["float32"])
    result.rows.append(
        Row("its network alone", f"{ours:.2f} ms", f"{theirs:.2f} ms (our float32 TFLite)", f"{theirs / ours:.2f} times")
    )
    decoding = median(detections["int8"]) - ours
    result.notes.append(
        f"INT8: decoding runs in NumPy on the host and is the same for both files. It takes {decoding:.1f} ms of each, which "
        "lowers the ratio."
    )
    ours, theirs = (files[kind].stat().st_size / 1e6 for kind in ("int8", "float32"))
    result.rows.append(
        Row(
            "its size",
            f"{ours:.2f} MB",
            f"{theirs:.2f} MB (our float32 TFLite)",
            f"{ours / theirs:.2f} times",
            "a third",
            ours / theirs <= MOST_SIZE,
        )
    )


def score_int8(result: Result, what: str, detector: Detector, splits: Sequence[str]) -> None:
    """A row on the INT8 file's AP50 over some splits of its records."""
    child = ROOT / "benchmarks" / "exports_scores_child.py"
    files = {"int8": detector.folder / "tflite" / "detector_int8.tflite", "saved_model": detector.frozen}
    ours, theirs = (
        answer(run([sys.executable, child, file, detector.records, *splits], onednn=True)) for file in files.values()
    )
    difference = ours["AP50"] - theirs["AP50"]
    say(f"  AP50, {what}: INT8 {ours['AP50']:.4f}, SavedModel {theirs['AP50']:.4f}, of {ours['pictures']} images")
    result.rows.append(
        Row(
            f"INT8 AP50 on {what}, {detector.specification().image_size} px",
            f"{ours['AP50']:.4f} (AP {ours['AP']:.4f})",
            f"{theirs['AP50']:.4f} (AP {theirs['AP']:.4f}) (our SavedModel)",
            f"{difference:+.4f}",
            f"within {MOST_DIFFERENCE}",
            abs(difference) <= MOST_DIFFERENCE,
        )
    )
