"""Trains Ultralytics YOLO11n from random weights for some time, and detects with the best weights. Runs in its environment.

Prints JSON: seconds of the training, its validations included, and for each test picture boxes (normalized: ymin, xmin, ymax,
xmax), scores and classes (from 0). A child of learning.py.

Usage: yolo11n.py FOLDER SIZE BATCH SECONDS     (FOLDER: data.yaml, images/, labels/)
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1])
os.environ["YOLO_CONFIG_DIR"] = str(folder / "settings")  # it keeps settings in the home folder otherwise
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ["YOLO_OFFLINE"] = "true"

import torch  # noqa: E402  # after the settings
from ultralytics import YOLO  # noqa: E402


def main() -> None:
    size, batch, seconds = map(int, sys.argv[2:])
    device = "0" if torch.cuda.is_available() else "cpu"
    with contextlib.redirect_stdout(sys.stderr):
        model = YOLO("yolo11n.yaml")
        started = time.perf_counter()
        model.train(
            data=str(folder / "data.yaml"),
            imgsz=size,
            batch=batch,
            time=seconds / 3600,
            device=device,
            workers=2,
            pretrained=False,
            plots=False,
            seed=0,
            project=str(folder),
            name="train",
        )
        trained = time.perf_counter() - started
        best = YOLO(str(folder / "train" / "weights" / "best.pt"))
        found = {}
        for path in sorted((folder / "images" / "test").iterdir()):
            # As its own validation detects: every box above a thousandth.
            boxes = best.predict(str(path), imgsz=size, conf=0.001, max_det=100, device=device, verbose=False)[0].boxes
            found[path.stem] = {
                "boxes": boxes.xyxyn[:, [1, 0, 3, 2]].tolist(),
                "scores": boxes.conf.tolist(),
                "classes": boxes.cls.int().tolist(),
            }
    print(json.dumps({"seconds": trained, "device": device, "detections": found}))


if __name__ == "__main__":
    main()
