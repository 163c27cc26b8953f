"""Times a SavedModel from pictures to boxes at batch 1; prints JSON. A child of exports_saved_model.py.

`milliseconds` of each picture, and the `detections` of one that has the network's own size, so that no resizing tells the two
sides apart.

Usage: exports_saved_model_child.py ours|garden FOLDER RECORDS PICTURES
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from boxcar.export.sampling import sample_images
from boxcar.inference.detections import Detections
from boxcar.inference.open_runner import open_runner

THREADS = 2
WARM_UP = 2  # answers before any is timed
Detect = Callable[[npt.NDArray[np.uint8]], Detections]


def open_ours(folder: Path) -> tuple[Detect, int]:
    runner = open_runner(folder, THREADS)
    return runner.detect, runner.specification.image_size


def open_garden(folder: Path) -> tuple[Detect, int]:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    model = tf.saved_model.load(str(folder))
    size = int((folder / "size").read_text())

    def detect(picture: npt.NDArray[np.uint8]) -> Detections:
        # By way of the model: the signature alone does not keep its variables alive.
        outputs = model.signatures["serving_default"](inputs=tf.constant(picture[None]))
        count = int(outputs["num_detections"][0])
        found = {name: outputs[f"detection_{name}"][0, :count].numpy() for name in ("boxes", "scores", "classes")}
        return Detections(found["boxes"], found["scores"], found["classes"].astype(np.int64))

    return detect, size


def main() -> None:
    folder, records, most = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    detect, size = {"ours": open_ours, "garden": open_garden}[sys.argv[1]](folder)
    pictures = [picture for _, picture in sample_images(records, "test", most)]
    square = np.asarray(Image.fromarray(pictures[0]).resize((size, size)))
    for _ in range(WARM_UP):
        found = detect(square)
    milliseconds = []
    for picture in pictures:
        started = time.perf_counter()
        detect(picture)
        milliseconds.append((time.perf_counter() - started) * 1000)
    detections = {name: getattr(found, name).tolist() for name in ("boxes", "scores", "classes")}
    print(json.dumps({"milliseconds": milliseconds, "detections": detections}))


if __name__ == "__main__":
    main()
