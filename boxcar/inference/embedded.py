"""What every exported file contains: the names of its classes, and its provenance.

A TFLite file has both in a zip archive after the model, as TFLite's metadata defines it; a TensorFlow.js model in the
user-defined metadata of its `model.json`; a SavedModel among its assets.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.specification import Specification, slot_ids
from boxcar.storage.cache import uri_of

LABELS = "labels.txt"
PROVENANCE = "provenance.json"
ASSETS = "assets"  # the folder in a SavedModel


@dataclass(frozen=True)
class Embedded:
    """Labels and provenance inside a file; None for what it does not contain."""

    labels: str | None  # the text of `labels.txt`, as `labels_text` writes it
    provenance: dict[str, Any] | None  # the value of `provenance.json`


def read_embedded(path: Path) -> Embedded:
    """Reads the labels and the provenance inside an exported file.

    Args:
        path: a `.tflite` file, a folder with a `model.json`, or a SavedModel.

    Returns:
        What can be read; nothing from a file that is cut short or of another kind.
    """
    try:
        if path.is_file():
            with zipfile.ZipFile(path) as archive:
                return Embedded(archive.read(LABELS).decode(), _object(archive.read(PROVENANCE)))
        if (path / "model.json").is_file():
            metadata = _object((path / "model.json").read_bytes())["userDefinedMetadata"]
            labels = {int(number): str(name) for number, name in metadata["labels"].items()}
            text = labels_text(labels, dense=bool(metadata.get("dense_slots")))
            return Embedded(text, dict(metadata["provenance"]))
        assets = path / ASSETS
        return Embedded((assets / LABELS).read_text(encoding="utf-8"), _object((assets / PROVENANCE).read_bytes()))
    except (zipfile.BadZipFile, FileNotFoundError, KeyError, ValueError, TypeError, AttributeError):
        return Embedded(None, None)


def labels_text(labels: Mapping[int, str], *, dense: bool) -> str:
    """The text of `labels.txt`: line n names class slot n. It is `???` for an id of no class, as in TFLite's own files.

    Args:
        labels: the classes' names by id.
        dense: as the `dense_slots` of a specification.
    """
    names = [" ".join(labels.get(number, "???").splitlines()) for number in slot_ids(labels, dense=dense)[1:]]
    return "".join(f"{name}\n" for name in names)


def differing_labels(path: Path, specification: Specification) -> str | None:
    """A clause that says how a file's labels differ from the specification's; None if they are the same."""
    found, wanted = read_embedded(path).labels, labels_text(specification.labels, dense=specification.dense_slots)
    if found == wanted:
        return None
    if found is None:
        return "it has no labels inside: it is cut short, or was written by an older version"
    inside, described = found.splitlines(), wanted.splitlines()
    for number, (one, other) in enumerate(zip(inside, described, strict=False), start=1):
        if one != other:
            return f"id {specification.slot_ids[number]} is {one} in the labels inside it, but {other} in its detector.json"
    return f"it has {len(inside)} labels, but its detector.json has {len(described)}"


def differing_origin(path: Path, specification: Specification) -> str | None:
    """A clause that says how a file's origin differs from the specification's; None if it is the same.

    Detectors of the same classes can have other anchors, because these depend on the architecture and the data.
    """
    provenance = read_embedded(path).provenance or {}
    for name, described in (("architecture", specification.architecture), ("dataset_version", specification.dataset_version)):
        if provenance.get(name, described) != described:
            return f"its {name} is {provenance[name]}, but {described} in its detector.json"
    return None


def check_labels(path: Path, specification: Specification) -> None:
    """Refuses a file whose labels or origin differ from its `detector.json`: one of the two belongs to another detector.

    Raises:
        BoxcarError: 65.
    """
    reason = differing_labels(path, specification) or differing_origin(path, specification)
    if reason is not None:
        raise BoxcarError(ExitCode.DATA, f"{uri_of(path)} cannot be used: {reason}.", "Export the model again.")


def _object(content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(content)
    return found
