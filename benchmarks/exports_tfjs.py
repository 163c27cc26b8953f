"""TensorFlow.js: Boxcar's export, decoded by its page, against the stock way with NMS in the graph.

The stock way is the Object Detection API's exporter_main_v2.py, then tensorflowjs_converter, then `executeAsync`. Both have the
same weights, thresholds and pictures, run in the same Node with the WebAssembly backend, and begin with a picture's pixels as a
canvas gives them.
"""

import json
import sys
from pathlib import Path

import numpy as np
from exports_detectors import Detector
from measuring import API, API_PYTHON, ROOT, Result, Row, answer, median, run, say

from boxcar.export.sampling import sample_images
from boxcar.inference.tfjs import find_node

LEAST_RATIO = 1.4
MOST_SCORE_DIFFERENCE = 0.001  # of the best detections' scores; more would say that the two do not do the same


def compare(result: Result, what: str, detector: Detector, repetitions: int, pictures: int) -> None:
    """A row on one detector."""
    stock = stock_export(detector)
    canvas = write_pictures(detector, pictures)
    child = ROOT / "benchmarks" / "exports_tfjs_child.mjs"
    sides = {"ours": detector.folder / "tfjs" / "float32", "stock": stock}
    milliseconds: dict[str, list[float]] = {side: [] for side in sides}
    network: list[float] = []
    for _ in range(repetitions):
        for side, folder in sides.items():
            found = answer(run([find_node(), child, side, "wasm", folder, canvas]))
            milliseconds[side] += found["milliseconds"]
            network += found["network"]
            say(f"  TensorFlow.js {side}, {what}: {median(found['milliseconds']):.1f} ms")
    # In plain JavaScript: see the note.
    scores = [
        np.asarray(answer(run([find_node(), child, side, "cpu", folder, canvas]))["scores"]) for side, folder in sides.items()
    ]
    count = min(len(found) for found in scores)
    difference = float(np.abs(scores[0][:count] - scores[1][:count]).max(initial=0.0))
    say(f"  the {count} best scores of the first picture differ by {difference:.2g} at most")
    if not count or difference > MOST_SCORE_DIFFERENCE:
        sys.exit(f"The two TensorFlow.js exports do not detect the same: {count} scores differ by {difference:.2g}.")
    ours, theirs = median(milliseconds["ours"]), median(milliseconds["stock"])
    size = detector.specification().image_size
    result.rows.append(
        Row(
            f"TFJS wasm, {size} px, decode and NMS included; {what}",
            f"{ours:.1f} ms (its network {median(network):.1f} ms)",
            f"{theirs:.1f} ms (stock export)",
            f"{theirs / ours:.2f} times",
            f"{LEAST_RATIO} times",
            theirs / ours >= LEAST_RATIO,
        )
    )


def explain(result: Result) -> None:
    result.notes.append(
        "TFJS: float32 weights, in Node with the WebAssembly backend of `@tensorflow/tfjs`, SIMD, one thread on both sides; "
        "from a photograph's RGBA pixels to boxes, scores, and classes. Boxcar's side is the browser page's own code. The "
        "stock side is the Object Detection API's `exporter_main_v2` with the converter's defaults and `executeAsync`, asked "
        "only for the four outputs that make up detections. Both have the same weights and score thresholds: 1e-8 for a zoo "
        "checkpoint, as in the zoo, and Boxcar's 0.01 for one trained here. In plain JavaScript, both find the same scores. "
        "With WebAssembly, the stock export does the same work and then loses its detections. It casts the areas of its boxes, "
        "which are fractions below 1, to Booleans, and the WebAssembly backend of TensorFlow.js 4.22 rounds them to zero."
    )


def stock_export(detector: Detector) -> Path:
    """The folder with the stock export of what `boxcar freeze` wrote, which the API reads as it reads the zoo's."""
    exported, folder = detector.folder / "stock", detector.folder / "stock-tfjs"
    run([API_PYTHON, API / "export.py", detector.frozen, exported])
    run([sys.executable, ROOT / "benchmarks" / "exports_stock_tfjs_child.py", exported / "saved_model", folder])
    return folder


def write_pictures(detector: Detector, most: int) -> Path:
    """A folder with test pictures as a canvas gives them: RGBA bytes, and `pictures.json` with their sizes."""
    folder = detector.folder / "canvas"
    folder.mkdir()
    listed = []
    for number, (_, picture) in enumerate(sample_images(detector.records, "test", most)):
        height, width = picture.shape[:2]
        (folder / f"{number}.rgba").write_bytes(np.dstack([picture, np.full([height, width], 255, np.uint8)]).tobytes())
        listed.append({"file": f"{number}.rgba", "width": width, "height": height})
    (folder / "pictures.json").write_text(json.dumps(listed))
    return folder
