"""The images and annotation files below a folder."""

from pathlib import Path
from typing import NamedTuple

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.faults import shown
from boxcar.records.images import is_other_image
from boxcar.run.layout import COMMIT, DRAWINGS, UNFINISHED
from boxcar.run.own_outputs import enclosing, is_hidden_object, own_folders, walk_data
from boxcar.storage import Store
from boxcar.storage.names import check_names

# How their names begin, such as `SegmentationClassVisualization`, and `panoptic_val2017` of COCO.
_MASKS = ("segmentationclass", "segmentationobject", "panoptic_train", "panoptic_val", "panoptic_test")


class FoundNames(NamedTuple):
    """What is below a data folder, by names relative to it, sorted."""

    names: list[str]  # all files but those of `own` and `masks`
    own: list[str]  # the folders with Boxcar's own outputs, which are left out
    others: list[str]  # the images of formats that records cannot contain, which are left out
    masks: list[str]  # the images of other images' masks, which are left out


def list_names(root: Path, leave_out: Path) -> FoundNames:
    """The names of all files below `root`.

    Hidden files and folders are skipped, and so are Boxcar's own outputs. Links to folders are followed, each folder once.

    Args:
        root: the data folder.
        leave_out: a folder below `root` to skip: the step's own output.

    Raises:
        BoxcarError: 69 if there is no permission to read a folder.
    """
    own: list[str] = []
    try:
        names = sorted(walk_data(root, own, leave_out))
    except OSError as error:
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"{shown(str(error.filename))} cannot be read: {error.strerror}.",
            "Change its permissions so that you can read it.",
            again=True,
        ) from error
    return _told_apart(names, own)


def list_objects(store: Store, leave_out: str | None) -> FoundNames:
    """`list_names` for a folder in a bucket.

    Args:
        store: the folder.
        leave_out: the step's own output, by its name in the folder; None if it is elsewhere.

    Raises:
        BoxcarError: 65 if an object has a name that no file can have; 69 if the bucket cannot be read.
    """
    entries = [entry for entry in store.entries() if not is_hidden_object(entry.name)]
    check_names((entry.name for entry in entries), store.uri)
    entries = [entry for entry in entries if leave_out is None or leave_out not in enclosing(entry.name)]
    found = own_folders(store, entries)
    own = sorted(name or "." for name in found if not found & set(enclosing(name)) - {name})
    marks = (COMMIT, UNFINISHED, DRAWINGS)
    names = [entry.name for entry in entries if not found & set(enclosing(entry.name))]
    return _told_apart(sorted(name for name in names if name.rpartition("/")[2] not in marks), own)


def _told_apart(names: list[str], own: list[str]) -> FoundNames:
    masks = [name for name in names if _is_mask(name)]
    names = [name for name in names if not _is_mask(name)] if masks else names
    return FoundNames(names, sorted(own), [name for name in names if is_other_image(name)], masks)


def is_object_mask(name: str) -> bool:
    """Whether a file's pixels say to which object of an image they belong, as in the Pascal VOC tree."""
    folder, _, base = name.lower().rpartition("/")
    return folder.rpartition("/")[2] == "segmentationobject" and base.endswith(".png")


def _is_mask(name: str) -> bool:
    """Whether a file is in a folder for masks, of the Pascal VOC tree, of labelme's export to it, or of COCO."""
    return any(part.startswith(_MASKS) for part in name.lower().split("/")[:-1])
