"""`label_map.pbtxt`: the classes' names by id, in the text format of the Object Detection API's `StringIntLabelMap`.

item {
  id: 1
  name: 'raccoon'
}
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage import replace_text
from boxcar.storage.cache import uri_of

# The message's id is an int32, but SavedModels return classes as float32, in which larger numbers are not all exact.
LARGEST_ID = 2**24
BACKGROUND = "background"


def read_label_map(path: Path) -> dict[int, str]:
    """The classes' names by id (1 or more), in ascending order of ids. The `display_name` counts if there is no `name`.

    An item `background` with id 0 is left out, because it is no class: the Object Detection API reserves this id.

    Raises:
        BoxcarError: 64 if there is no such file; 69 if it cannot be read; 65 if it is not a label map, is empty, an id or name
            is missing or used twice, or an id is below 1.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        what = f"There is no label map {uri_of(path)}."
        raise BoxcarError(ExitCode.USAGE, what, "Give a label_map.pbtxt that exists.") from error
    except OSError as error:
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"The label map {uri_of(path)} cannot be read: {error.strerror or error}.",
            "Change its permissions so that you can read it.",
            again=True,
        ) from error
    return parsed_label_map(content, uri_of(path))


def parsed_label_map(content: bytes, where: str) -> dict[int, str]:
    """The classes' names by id, in ascending order of ids, in the content of a label map, which messages call `where`.

    Raises:
        BoxcarError: 65 as `read_label_map`.
    """
    # protobuf takes 10 MB of memory, which the records step does without unless it is given a label map.
    from google.protobuf.text_format import Parse, ParseError

    from boxcar.data.messages import LabelMap

    try:
        # Items may have fields that are not needed here, such as keypoints.
        items = Parse(content.decode("utf-8-sig"), LabelMap(), allow_unknown_field=True).item
    except UnicodeDecodeError as error:
        raise _refusal(where, "it is not UTF-8 text") from error
    except (ParseError, ValueError, RecursionError) as error:
        place, _, reason = str(error).partition(" : ")
        line = place.partition(":")[0]
        plain = "".join(sign if sign.isprintable() else "?" for sign in reason)[:200].rstrip(".")
        raise _refusal(where, f"line {line}: {plain}" if line.isdecimal() and plain else "it is not a label map") from error
    labels: dict[int, str] = {}
    for number, item in enumerate(items, 1):
        name = item.name or item.display_name
        if item.HasField("id") and item.id == 0 and name == BACKGROUND:
            continue  # it is no class: the API allows this name for id 0, which it reserves
        if reason := _fault(item, name, labels):
            raise _refusal(where, f"item {number} {reason}")
        labels[item.id] = name
    if not labels:
        raise _refusal(where, "it contains no item")
    return dict(sorted(labels.items()))


def read_given_label_map(path: Path) -> tuple[dict[int, str], list[str]]:
    """A label map that a person gives, with the white space in its names as in the names that label files give.

    Returns:
        The classes as `read_label_map` returns them, and a sentence if there was other white space in their names.

    Raises:
        BoxcarError: as `read_label_map`; 65 also if two names differ in white space only.
    """
    given = read_label_map(path)
    labels = {number: " ".join(name.split()) for number, name in given.items()}
    changed = [name for number, name in given.items() if name != labels[number]]
    if len(set(labels.values())) < len(labels):
        twice = next(name for name in labels.values() if list(labels.values()).count(name) > 1)
        raise _refusal(uri_of(path), f"the name {twice!r} appears twice, apart from white space")
    if not changed:
        return labels, []
    count = "1 class name" if len(changed) == 1 else f"{len(changed)} class names"
    return labels, [f"White space was removed from {count} of the label map, such as {changed[0]!r}."]


def _fault(item: Any, name: str, labels: Mapping[int, str]) -> str:
    """What is wrong with an item, after the items that gave `labels`; empty if nothing is."""
    if not item.HasField("id"):
        return "has no id"
    if not 1 <= item.id <= LARGEST_ID:
        return f"has the id {item.id}; ids range from 1 to {LARGEST_ID}"
    if not name.strip():
        return f"with id {item.id} has no name"
    if item.id in labels:
        return f"has the id {item.id}, which appears twice"
    return f"has the name {name!r}, which appears twice" if name in labels.values() else ""


def differing_ids(one: Mapping[int, str], other: Mapping[int, str]) -> list[int]:
    """The ids that mean another class in one of two label maps, or none; sorted."""
    return [number for number in sorted({*one, *other}) if one.get(number) != other.get(number)]


def write_label_map(path: Path, labels: Mapping[int, str]) -> None:
    """Writes a label map atomically.

    Args:
        path: the file, usually `label_map.pbtxt`.
        labels: distinct names by id, from 1.

    Raises:
        BoxcarError: 69 if the file cannot be written.
    """
    assert all(1 <= number <= LARGEST_ID for number in labels), labels
    assert len(set(labels.values())) == len(labels), labels
    replace_text(path, label_map_text(labels))


def label_map_text(labels: Mapping[int, str]) -> str:
    """The text that `write_label_map` writes."""
    return "".join(f"item {{\n  id: {number}\n  name: {_quoted(labels[number])}\n}}\n" for number in sorted(labels))


def _refusal(where: str, reason: str) -> BoxcarError:
    return BoxcarError(
        ExitCode.DATA, f"The label map {where} cannot be used: {reason}.", "Fix the file, or give another label map."
    )


def _quoted(name: str) -> str:
    plain = name.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + "".join(f"\\{ord(sign):03o}" if ord(sign) < 32 or ord(sign) == 127 else sign for sign in plain) + "'"


def with_classes(labels: Mapping[int, str], classes: Iterable[str]) -> dict[int, str]:
    """The labels, to which the classes that they lack are appended in alphabetical order.

    Raises:
        BoxcarError: 65 if the labels' ids leave no id for them.
    """
    complete = dict(labels)
    for name in sorted(set(classes) - set(labels.values())):
        number = max(complete, default=0) + 1
        if number > LARGEST_ID:
            what = f"The class {name} is not in the label map, and no id is left after {LARGEST_ID}."
            raise BoxcarError(ExitCode.DATA, what, "Give the label map lower ids, or add the class to it.")
        complete[number] = name
    return complete
