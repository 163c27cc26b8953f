"""Runs a Boxcar TFLite file on images and measures frames per second. It needs no other part of Boxcar:

    pip install numpy pillow ai-edge-litert
    python detect.py detector_int8.tflite IMAGE_OR_FOLDER... [--json found.json]

`detector.json` must be in the model's folder, where `boxcar convert` writes it.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


class Detector:
    """A TFLite file with its `detector.json`: images in, detections out."""

    def __init__(self, model: Path, threads: int, score: float | None) -> None:
        self.info = json.loads((model.parent / "detector.json").read_text(encoding="utf-8"))
        self.size = self.info["image_size"]
        self.lowest = self.info["thresholds"]["score"] if score is None else score
        self.anchors = make_anchors(self.size, self.info["anchors"])
        ids = sorted(map(int, self.info["labels"]))
        # The class id of each class slot; slot 0 is the background. Without `dense_slots`, every id up to the highest has one.
        self.ids = np.array([0, *ids] if self.info.get("dense_slots") else range(ids[-1] + 1))
        # Its only signature names the outputs: raw ones, or the detections of a file with NMS, which takes 15 threads at most.
        self.run = Interpreter(model_path=str(model), num_threads=min(threads, 15)).get_signature_runner()

    def detect(self, image: np.ndarray) -> list[dict]:
        """Detections in a uint8 RGB image [H, W, 3], best score first; boxes are (ymin, xmin, ymax, xmax) from 0 to 1."""
        (low, high), takes = self.info["value_range"], self.run.get_input_details()["image"]["dtype"]  # uint8: --int8-input
        pixels = preprocess(image, self.size, low, high)
        pixels = np.rint((pixels - low) * (255 / (high - low))).astype(takes) if takes == np.uint8 else pixels
        outputs = {name: value[0] for name, value in self.run(image=pixels[None]).items()}
        found = self.select(outputs) if "detection_boxes" in outputs else self.decode(outputs)
        return [
            {"box": [float(side) for side in box], "score": float(score), "class": self.info["labels"][str(id)], "id": int(id)}
            for box, score, id in zip(*found, strict=True)
        ]

    def select(self, outputs: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes, scores, and class ids from the detections of a file with NMS; classes there are slots from 0."""
        boxes, scores = np.clip(outputs["detection_boxes"], 0, 1), outputs["detection_scores"]
        seen = (np.arange(len(scores)) < outputs["num_detections"]) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        seen &= scores > self.lowest
        return boxes[seen], scores[seen], self.ids[outputs["detection_classes"][seen].astype(int) + 1]

    def decode(self, outputs: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes, scores, and class ids from the raw outputs [A, 4] and [A, C]; slot 0 of C is the background."""
        encodings, logits = outputs["box_encodings"], outputs["class_logits"]
        lowest = np.log(self.lowest / (1 - self.lowest)) if self.lowest > 0 else -np.inf
        anchor, slot = np.nonzero(logits[:, 1:] > lowest)  # before the sigmoid, which few anchors then need
        classes, scores = slot + 1, 1 / (1 + np.exp(-np.clip(logits[anchor, slot + 1], -80, 80)))
        boxes = decode_boxes(encodings[anchor], self.anchors[anchor], self.info["box_coder"])
        clipped = np.clip(boxes, 0, 1)
        seen = np.flatnonzero((clipped[:, 2:] > clipped[:, :2]).all(axis=1))
        order = seen[np.lexsort((classes[seen], -scores[seen]))]
        kept = order[self.suppress(boxes[order], classes[order])]
        return clipped[kept], scores[kept], self.ids[classes[kept]]

    def suppress(self, boxes: np.ndarray, classes: np.ndarray) -> list[int]:
        """Indices of the boxes to keep; the boxes are sorted by score. Drops those that overlap a better one of their class."""
        limits = self.info["thresholds"]
        kept: list[int] = []
        alive, counts = np.ones(len(boxes), bool), np.zeros(classes.max(initial=0) + 1, int)
        for index in range(len(boxes)):
            if not alive[index] or counts[classes[index]] == limits["max_detections_per_class"]:
                continue
            kept.append(index)
            if len(kept) == limits["max_detections"]:
                break
            counts[classes[index]] += 1
            alive &= (overlap(boxes[index], boxes) <= limits["iou"]) | (classes != classes[index])
        return kept


def read(path: Path) -> np.ndarray:
    """An image as a person sees it, uint8 [H, W, 3]: upright, of 16 bits the upper 8, and on white where it is transparent."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.uint16)
        image = Image.fromarray(np.where(values == image.info.get("transparency"), 255, values >> 8).astype(np.uint8))
    colors, seen = image.convert("RGBA"), Image.new("RGB", image.size, "white")
    seen.paste(colors, mask=colors.getchannel("A"))
    return np.asarray(seen)


def preprocess(image: np.ndarray, size: int, low: float, high: float) -> np.ndarray:
    """uint8 [H, W, 3] to float32 [S, S, 3] from low to high: bilinear, pixels at their corners, as the model was trained."""

    def taps(length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        position = np.arange(size, dtype=np.float32) * (np.float32(length) / np.float32(size))
        first = position.astype(int)
        return first, np.minimum(first + 1, length - 1), position - first.astype(np.float32)

    (top, bottom, down), (left, right, across) = taps(image.shape[0]), taps(image.shape[1])

    def rows(index: np.ndarray) -> np.ndarray:
        first, second = (image[index][:, column].astype(np.float32) for column in (left, right))
        return first + (second - first) * across[None, :, None]

    upper = rows(top)
    return (upper + (rows(bottom) - upper) * down[:, None, None]) * np.float32((high - low) / 255) + np.float32(low)


def make_anchors(size: int, anchors: dict) -> np.ndarray:
    """[A, 4] (ymin, xmin, ymax, xmax), ordered by level, row, column, aspect ratio, and scale."""
    scales = 2 ** (np.arange(anchors["scales_per_octave"]) / anchors["scales_per_octave"])
    roots, levels = np.sqrt(anchors["aspect_ratios"]), []
    for level in range(anchors["min_level"], anchors["max_level"] + 1):
        stride = 2**level
        centers = np.arange(-(-size // stride)) * stride + (stride / 2 if size % stride == 0 else 0)
        side = anchors["anchor_scale"] * stride
        heights, widths = np.outer(side / roots, scales).ravel(), np.outer(side * roots, scales).ravel()
        y, x, shape = np.meshgrid(centers, centers, np.arange(len(heights)), indexing="ij")
        half = np.stack([heights[shape], widths[shape]], -1) / 2
        middle = np.stack([y, x], -1)
        levels.append(np.concatenate([middle - half, middle + half], -1).reshape(-1, 4) / size)
    return np.concatenate(levels).astype(np.float32)


def decode_boxes(encodings: np.ndarray, anchors: np.ndarray, coder: dict) -> np.ndarray:
    """Boxes from offsets relative to their anchors, with separate scales for the center and the sides."""
    sides, centers = anchors[:, 2:] - anchors[:, :2], (anchors[:, 2:] + anchors[:, :2]) / 2
    middle = encodings[:, :2] / [coder["y_scale"], coder["x_scale"]] * sides + centers
    half = np.exp(np.minimum(encodings[:, 2:] / [coder["height_scale"], coder["width_scale"]], 20)) * sides / 2
    return np.concatenate([middle - half, middle + half], axis=1)


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with each of many."""
    shared = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / np.maximum((box[2:] - box[:2]).prod() + areas - shared, 1e-12)


def say(*parts: object) -> None:
    """Prints a line. Whoever stops reading it, such as `head`, does not end the work."""
    try:
        print(*parts, sep="  ", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a .tflite file with detector.json in its folder")
    parser.add_argument("images", type=Path, nargs="+", help="images, or folders of images")
    parser.add_argument("--threads", type=int, default=4, help="CPU threads; a Raspberry Pi has four cores")
    parser.add_argument("--score", type=float, help="minimum score of a detection (default: the one in detector.json)")
    parser.add_argument("--json", type=Path, help="file to write the detections to")
    options = parser.parse_args()
    if not 1 <= options.threads <= 64:
        parser.error("--threads takes a number from 1 to 64")
    if options.score is not None and not 0 <= options.score < 1:
        parser.error("--score takes a number from 0 to below 1")
    if options.json and not options.json.absolute().parent.is_dir():
        parser.error(f"there is no folder {options.json.parent} for {options.json}")
    if options.json and options.json.exists() and not options.json.read_bytes().startswith(b'[{"path": '):
        parser.error(f"{options.json} is not a list of an earlier call, and would be replaced")
    paths = [path for given in options.images for path in (sorted(given.iterdir()) if given.is_dir() else [given])]
    paths = [path for path in paths if path.suffix.lower() in ENDINGS] or sys.exit("There are no images in these paths.")
    detector, found, seconds = Detector(options.model, options.threads, options.score), [], []
    for path in paths:
        image = read(path)
        started = time.perf_counter()
        found.append({"path": str(path), "detections": detector.detect(image)})
        seconds.append(time.perf_counter() - started)
        say(path, *(f"{one['class']} {one['score']:.2f}" for one in found[-1]["detections"] if one["score"] >= 0.5))
    if options.json:
        options.json.write_text(json.dumps(found), encoding="utf-8")
    median = statistics.median(seconds)
    say(f"{1 / median:.1f} frames per second ({median * 1000:.1f} ms each, {options.threads} threads)")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, KeyError) as error:  # a file that is missing, cut short, or of another kind
        sys.exit(f"detect.py: {error}")
