"""A small data set for trials: drawn shapes with Pascal VOC files.

May import `run`, `storage`, `sync`, and `errors`; never TensorFlow.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.progress import Progress
from boxcar.run.step import Step
from boxcar.shapes.scene import CLASSES, Scene, draw_scene
from boxcar.storage import make_folder
from boxcar.storage.local_files import os_errors, sync_folder
from boxcar.sync.mirror import Mirror

__all__ = ["CLASSES", "Scene", "draw_scenes", "make_shapes"]

MOST_SHAPES = 4


def make_shapes(output: str, *, pictures: int = 640, image_size: int = 256, seed: int = 0, masks: bool = False) -> Path:
    """Writes `pictures` JPEG images, each with its Pascal VOC XML; `step.json` lists them.

    The same arguments give the same bytes, except that `folder` and `path` in the XML name the folder, as in labelImg's
    files. Image n does not depend on how many follow it. The folder appears complete: until the end, the files are in a hidden
    folder next to it.

    Args:
        output: URI of the folder to create. If it already contains this data set, nothing is done.
        pictures: the number of images, 1 to 100,000.
        image_size: their side in pixels, 64 to 2048.
        seed: 0 to 4294967295.
        masks: add each shape's outline to the XML, as a polygon. It contains what another shape covers, as the box does.

    Returns:
        The folder's absolute path; for a bucket, that of its copy on this machine.

    Raises:
        BoxcarError: 64 for numbers outside these ranges and for a folder that contains something else, 69 if it cannot be
            written.
    """
    for name, value, low, high in (
        ("--pictures", pictures, 1, 100_000),
        ("--image-size", image_size, 64, 2048),
        ("--seed", seed, 0, 2**32 - 1),
    ):
        if not low <= value <= high:
            raise BoxcarError(ExitCode.USAGE, f"{name} {value} is out of range.", f"Give a number from {low} to {high}.")
    parameters = {"pictures": pictures, "image_size": image_size, "seed": seed}
    with Mirror(output).working() as working:
        return _draw(working.resolve(), parameters, masks)


def _draw(folder: Path, drawing: dict[str, int], masks: bool) -> Path:
    pictures = drawing["pictures"]
    parameters = {**drawing, "masks": masks} if masks else drawing
    with Progress("Drawing shapes", pictures, "images") as progress:
        if Step("shapes", folder, {}, parameters).done():
            progress.advance(pictures)
            progress.say(f"{folder} already contains these {pictures} images. Nothing to do.")
            return folder
        _require_free(folder)
        make_folder(folder.parent)
        step = Step("shapes", folder.with_name(f".{folder.name}.unfinished"), {}, parameters)
        with step.writing() as unfinished:
            for number, scene in enumerate(draw_scenes(**drawing), 1):
                name = f"shapes-{number:04d}"
                with os_errors(unfinished):
                    Image.fromarray(scene.pixels).save(unfinished / f"{name}.jpg", quality=92)
                    _annotation(scene, folder / f"{name}.jpg", masks).write(unfinished / f"{name}.xml", encoding="unicode")
                progress.advance()
    with os_errors(folder):
        step.folder.replace(folder)
        sync_folder(folder.parent)
    return folder


def draw_scenes(pictures: int, image_size: int, seed: int) -> Iterator[Scene]:
    """Draws images one after the other. Every class is drawn equally often, plus or minus one."""
    dealer = np.random.default_rng(seed)
    deck: list[str] = []
    for number in range(pictures):
        count = int(dealer.integers(1, MOST_SHAPES + 1))
        while len(deck) < count:
            deck += [CLASSES[i] for i in dealer.permutation(len(CLASSES))]
        labels, deck = deck[:count], deck[count:]
        yield draw_scene(np.random.default_rng([seed, number]), image_size, labels)


def _require_free(folder: Path) -> None:
    """Refuses a file and a folder that is not empty."""
    with os_errors(folder):
        if not folder.exists():
            return
        if folder.is_dir() and not any(folder.iterdir()):
            return
    what = "contains files that are not from this data set" if folder.is_dir() else "is a file"
    raise BoxcarError(ExitCode.USAGE, f"{folder} {what}.", "Choose another --output, or move its files away.")


def _annotation(scene: Scene, image: Path, masks: bool) -> "ET.ElementTree[ET.Element]":
    """The XML that labelImg writes for an image at `image`, with outlines as LabelMe has them if there are to be masks."""
    height, width, depth = scene.pixels.shape
    root = ET.Element("annotation")
    _add(root, "folder", image.parent.name)
    _add(root, "filename", image.name)
    _add(root, "path", str(image))
    _add(_add(root, "source"), "database", "Unknown")
    size = _add(root, "size")
    for name, value in (("width", width), ("height", height), ("depth", depth)):
        _add(size, name, str(value))
    _add(root, "segmented", "0")
    for shape in scene.shapes:
        item = _add(root, "object")
        for name, text in (("name", shape.label), ("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):
            _add(item, name, text)
        box = _add(item, "bndbox")
        for name, edge in zip(("xmin", "ymin", "xmax", "ymax"), shape.box, strict=True):
            _add(box, name, str(edge))
        if masks:
            polygon = _add(item, "polygon")
            for x, y in shape.outline.round(2).tolist():
                point = _add(polygon, "pt")
                _add(point, "x", str(x))
                _add(point, "y", str(y))
    ET.indent(root, "\t")
    return ET.ElementTree(root)


def _add(parent: ET.Element, name: str, text: str | None = None) -> ET.Element:
    child = ET.SubElement(parent, name)
    child.text = text
    return child
