"""Label Studio's JSON and JSON-MIN: one file for all tasks, each with one image.

Label Studio stores percentages of the image's width and height, and a rotation in degrees, clockwise, about the rectangle's
top left corner, of which the pixels count. Polygons, ellipses, and what a brush painted are outlines. Their box, and that of a
rotated rectangle, is the one around them. Key points have no area and are left out where the image also has a box. Choices and
texts are ignored.

A task without an annotation is an image without a label; a task with an empty one is an image without objects. Of several
annotations, those that were cancelled do not count. The others must agree.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

from boxcar.records.annotation import Annotation
from boxcar.records.entries import EntriesReader, Entry
from boxcar.records.faults import FaultyError
from boxcar.records.images import is_image
from boxcar.records.json_beginning import BEGINNING, Beginning, beginning
from boxcar.records.json_stream import JsonText
from boxcar.records.outline import Outline
from boxcar.records.reader import DataFiles, Listing, Recognized
from boxcar.records.shapes import Shape, Shapes, number, oval, oval_polygon, points_of, polygon, turned

_LOOKED_AT = 20  # files
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")  # the name of an uploaded file
_PLACE = ("x", "y", "width", "height", "rotation", "radiusX", "radiusY", "points", "rle")


def recognize(files: DataFiles) -> Recognized | None:
    """Recognizes JSON files by the keys of their first tasks."""
    reader = LabelStudioReader()
    for name in islice(filter(reader.is_annotation, files.names), _LOOKED_AT):
        if _is_export(beginning(files.beginning(name, BEGINNING))):
            return Recognized(reader, name)
    return None


def _is_export(found: Beginning) -> bool:
    task, result = found.keys[2], found.keys[4]  # in [{, and in [{"annotations": [{ or [{"label": [{
    full = "annotations" in task and ("data" in task or "result" in result)
    tasks_only = "data" in task and bool(task & {"predictions", "file_upload"})
    return found.first == "[" and (full or tasks_only or "annotation_id" in task or "rectanglelabels" in result)


class LabelStudioReader(EntriesReader):
    """Reads Label Studio's exports."""

    format = "label-studio"
    title = "Label Studio"
    suffix = ".json"

    def entries(self, listing: Listing | None) -> Callable[[BinaryIO], Iterator[Entry]]:
        return _entries


def _entries(file: BinaryIO) -> Iterator[Entry]:
    """The annotated tasks of an export, each as soon as it is read; none of a file that is no export.

    Raises:
        FaultyError: `broken_labels` or `labels_too_large`.
    """
    found = beginning(file.read(BEGINNING))
    if found.first not in ("[", "{"):
        raise FaultyError("broken_labels", "it is no JSON")
    if not _is_export(found):
        return
    file.seek(0)
    text = JsonText(file)
    for place, task in enumerate(text.elements(), start=1):
        try:
            entry = _entry(task)
        except FaultyError as error:
            raise FaultyError(error.kind, f"task {place} {error.reason}") from error
        except RecursionError as error:  # of `repr`
            raise FaultyError("broken_labels", f"task {place} is nested too deeply") from error
        if entry is not None:
            yield entry
    text.end()


def _entry(task: Any) -> Entry | None:
    """What a task says about its image; None if nobody has labeled it.

    Raises:
        FaultyError: it is no task, or does not name its image.
    """
    if not isinstance(task, dict):
        raise FaultyError("broken_labels", "is no object")
    if "annotations" in task:
        data = task.get("data")
        annotations = [one for one in _list(task["annotations"], "annotations") if not _was_cancelled(one)]
    elif "data" in task or task.get("annotation_id", 0) is None:  # only predictions, or nothing in JSON-MIN
        return None
    else:  # JSON-MIN: beside the image, each tag has a list of its values, unless it is a choice or a text
        data, lists = task, [tag for tag in task.values() if isinstance(tag, list)]
        annotations = [{"result": [{"value": one} for tag in lists for one in tag if isinstance(one, dict)]}]
    if not annotations:
        return None
    images = _images(data, annotations)
    try:
        labels = [_annotation(_values(one)) for one in annotations]
    except FaultyError as error:
        return Entry(images, error)
    if any(sorted(one.objects, key=repr) != sorted(labels[0].objects, key=repr) for one in labels):
        return Entry(
            images, FaultyError("two_annotations", f"{len(labels)} annotations of it differ; keep the one that counts")
        )
    return Entry(images, labels[0])


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise FaultyError("broken_labels", f"has no list of {what}")
    return value


def _was_cancelled(annotation: Any) -> bool:
    return isinstance(annotation, dict) and bool(annotation.get("was_cancelled"))


def _values(annotation: Any) -> list[dict[str, Any]]:
    """An annotation's results, each with its value's keys, which is what JSON-MIN has of them.

    Raises:
        FaultyError: there are none.
    """
    results = annotation.get("result") if isinstance(annotation, dict) else None
    if not isinstance(results, list):
        raise FaultyError("broken_labels", "it has no list of results")
    values = []
    for result in results:
        if not isinstance(result, dict):
            raise FaultyError("broken_labels", "it has a result that is no object")
        value = result.get("value")
        if isinstance(value, dict):
            values.append({**result, **value})
        elif result.get("type") != "relation":
            raise FaultyError("broken_labels", "it has a result without a value")
    return values


def _images(data: Any, annotations: list[Any]) -> list[str]:
    """The paths of a task's image: that of the key that the results point to, or the key `image`, or the only image."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)} if isinstance(data, dict) else {}
    results = [one.get("result") for one in annotations if isinstance(one, dict)]
    each = [result for some in results if isinstance(some, list) for result in some if isinstance(result, dict)]
    pointed = {name for result in each if isinstance(name := result.get("to_name"), str)}
    for keys in (pointed, {"image"}, {key for key, value in texts.items() if any(map(is_image, _paths(value)))}):
        found = {texts[key] for key in keys if key in texts}
        if len(found) == 1:
            return _paths(found.pop())
        if found:
            raise FaultyError("broken_labels", "has several images")
    raise FaultyError("broken_labels", "names no image")


def _paths(given: str) -> list[str]:
    """The paths that an image may have in the data folder, the most likely first."""
    path = given
    if "://" in given or "?" in given:
        try:
            parts = urlsplit(given)
            path = parse_qs(parts.query).get("d", [parts.path])[0]
        except ValueError:
            path = given
    paths = [path, unquote(path)]
    for one in tuple(paths):
        folder, _, base = one.rpartition("/")
        if uploaded := _UPLOADED.fullmatch(base):
            paths.append(f"{folder}/{uploaded[1]}")
    return list(dict.fromkeys(paths))


def _annotation(results: list[Any]) -> Annotation:
    """One annotator's labels of an image.

    Raises:
        FaultyError: it cannot be understood.
    """
    shapes = Shapes()
    size: tuple[int, int] | None = None
    labeled = {_place(result) for result in results if _names(result) is not None}
    for result in results:
        names = _names(result)
        if "sequence" in result:
            raise FaultyError("not_a_box", "it has boxes of a video")
        if names is None and (_place(result) in labeled or not _is_shape(result)):
            continue  # a rectangle whose label is a result of its own, or a choice, or a text
        if result.get("image_rotation"):
            raise FaultyError("broken_labels", f"it was labeled on an image turned by {result['image_rotation']!r:.10} degrees")
        if names is not None and len(names) > 1:
            raise FaultyError("broken_labels", f"a shape has {len(names)} labels")
        own = _size(result)
        if size is not None and own not in (None, size):
            raise FaultyError("broken_labels", "its results are of different image sizes")
        size = own or size
        if _is_key_point(result):
            shapes.leave_out("key points")
        else:
            shapes.add(names[0] if names else None, partial(_shape, result, own))
    return Annotation(None, size, shapes.objects(), relative=True)


def _names(result: dict[str, Any]) -> list[Any] | None:
    """The labels of a result; None if it is not one that gives labels."""
    return next((value for key, value in result.items() if key.endswith("labels") and isinstance(value, list)), None)


def _place(result: dict[str, Any]) -> str:
    return repr([result.get(key) for key in _PLACE])


def _is_shape(result: dict[str, Any]) -> bool:
    """Whether a result without labels is a shape, and not a property of a shape or of the image."""
    return not result.keys() & {"choices", "text", "taxonomy", "rating", "number", "datetime"} and bool(
        result.keys() & {"x", "points", "rle", "vertices"}
    )


def _is_key_point(result: dict[str, Any]) -> bool:
    return "vertices" in result or ("x" in result and not result.keys() & {"height", "radiusX"})


def _size(result: dict[str, Any]) -> tuple[int, int] | None:
    width, height = result.get("original_width"), result.get("original_height")
    if width is None and height is None:
        return None
    if type(width) is not int or type(height) is not int or min(width, height) < 1:
        raise FaultyError("broken_labels", "its original_width and original_height are no whole numbers")
    return width, height


def _brush(packed: Any, size: tuple[int, int] | None) -> Shape:
    """What a brush painted, whose box is the one around its pixels."""
    from boxcar.records.mask_images import brush_pixels  # which loads NumPy
    from boxcar.records.masks import box_of, mask_of

    if size is None:
        raise FaultyError("box_incomplete", "is a brush stroke, but has no original_width and original_height")
    try:
        pixels = brush_pixels(packed, *size)
    except ValueError as error:
        raise FaultyError("not_a_box", f"is a brush stroke that {error}") from error
    box = box_of(pixels)
    if box is None:
        raise FaultyError("box_without_area", "is a brush stroke without a pixel")
    width, height = size
    sides = box[0] / width, box[1] / height, box[2] / width, box[3] / height
    return Shape(sides, Outline((), [mask_of(pixels)]))


def _shape(result: dict[str, Any], size: tuple[int, int] | None) -> Shape:
    """The box and the outline of a result, in shares of the image's sides."""

    def pixels(name: str, side: int) -> float:
        return number(result.get(name), name) / 100 * side

    if "rle" in result:
        return _brush(result["rle"], size)
    if "points" in result:
        return polygon([(x / 100, y / 100) for x, y in points_of(result["points"])])
    degrees = number(result.get("rotation") or 0, "rotation")
    if size is None and (degrees or "radiusX" in result):
        raise FaultyError("box_incomplete", "is turned or round, but has no original_width and original_height")
    width, height = size or (100, 100)
    x, y = pixels("x", width), pixels("y", height)
    if "radiusX" in result:
        radii = pixels("radiusX", width), pixels("radiusY", height)
        box, outline = oval((x, y), radii, degrees), oval_polygon((x, y), radii, degrees)
    else:
        box, outline = turned((x, y, x + pixels("width", width), y + pixels("height", height)), degrees, (x, y)), []
    sides = box[0] / width, box[1] / height, box[2] / width, box[3] / height
    shares = [side / (height if place % 2 else width) for place, side in enumerate(outline)]
    return Shape(sides, Outline([shares]) if shares else None)
