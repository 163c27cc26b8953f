"""COCO's instance annotations: JSON files with lists of images, annotations and categories that refer to each other by ids.

Box annotations hold the left and upper edge, width and height in pixels. Without a box, an annotation has that of its outline.
Crowds, which are regions with many objects, are left out.
"""

import hashlib
import io
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from itertools import islice

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.annotation import Annotation
from boxcar.records.coco_join import join, read_part
from boxcar.records.coco_tables import LISTS, CocoTables, is_label_file, is_other_annotation
from boxcar.records.faults import Fault, FaultyError
from boxcar.records.image_index import ImageIndex
from boxcar.records.json_stream import list_elements
from boxcar.records.reader import DataFiles, Item, Listing, Recognized

_OTHER_FILES = ("captions_", "image_info_", "panoptic_")  # how the names of COCO's files without instances begin
_INSTANCES = "instances_"
_SAME_IMAGES = ("person_keypoints_", "stuff_")  # COCO's files about the images of `instances_`: its persons, its background
_LIKELY = re.compile(r"coco|instance|annotation|label|train|val|test", re.IGNORECASE)
_LOOKED_AT = 20  # files, by which the format is recognized
_BEGINNING = 1 << 16  # bytes


def recognize(files: DataFiles) -> Recognized | None:
    """Recognizes a JSON object with lists of COCO's names, which are at its beginning or behind short values.

    A whole file with nothing but categories, as Label Studio writes beside YOLO labels, is none.
    """
    reader = CocoReader()
    found = sorted(filter(reader.is_annotation, files.names), key=lambda name: _LIKELY.search(name) is None)
    for name in islice(found, _LOOKED_AT):
        if _is_coco(files.beginning(name, _BEGINNING)):
            return Recognized(reader, name)
    return None


def _is_coco(beginning: bytes) -> bool:
    """Whether the beginning of a file has COCO's lists. Other formats have lists of these names without these members."""
    begun: set[str] = set()
    has_categories = False
    try:
        for name, element in list_elements(io.BytesIO(beginning), LISTS, begun):
            members = {"images": {"file_name"}, "annotations": {"image_id"}, "categories": {"id", "name"}}[name]
            found = isinstance(element, dict) and members <= element.keys()
            has_categories |= found and name == "categories"
            if found and name != "categories":
                return True
    except FaultyError:  # it is only a beginning
        return has_categories or {"images", "annotations"} <= begun
    return {"images", "annotations"} <= begun or (has_categories and bool(begun & {"images", "annotations"}))


class CocoReader:
    """Reads COCO JSON; see `boxcar.records.reader.AnnotationReader`."""

    format = "coco"
    title = "COCO"

    def is_annotation(self, name: str) -> bool:
        base = name.rpartition("/")[2].lower()
        return base.endswith(".json") and not base.startswith(_OTHER_FILES)

    def image_names(self, content: bytes) -> list[str]:
        """The images' names with the folders that the file gives."""
        names, begun = [], set[str]()
        labels = others = 0
        try:
            for kind, entry in list_elements(io.BytesIO(content), LISTS, begun):
                if kind == "images" and isinstance(entry, dict):
                    given = entry.get("file_name")
                    if isinstance(given, str) and given.splitlines() == [given]:
                        names.append(given)
                elif kind == "annotations":
                    others += is_other_annotation(entry)
                    labels += not is_other_annotation(entry)
        except FaultyError:
            return []  # the check of the file reports it
        return names if is_label_file(begun, labels, others) else []

    def items(self, listing: Listing) -> Iterator[Item | Fault]:
        """As in `AnnotationReader`.

        Raises:
            BoxcarError: 65 if it is ambiguous which class a category is; 69 if temporary files cannot be written.
        """
        try:
            with closing(CocoTables()) as tables:
                yield from join(listing, _label_files(listing.names), tables)
        except sqlite3.OperationalError as error:
            what = f"Temporary files for the labels cannot be written: {error}."
            do = "Free space, or set the environment variable TMPDIR to a folder that has some."
            raise BoxcarError(ExitCode.ENVIRONMENT, what, do) from error

    def labeled_images(self, listing: Listing) -> set[str]:
        index, found = ImageIndex(listing.names), set[str]()
        for source in _label_files(listing.names):
            for given in listing.image_names(source):
                with suppress(FaultyError):
                    name = index.find(given, source)
                    if name is not None:
                        found.add(name)
        return found

    def digest(self, content: bytes) -> bytes:
        return hashlib.sha256(content).digest()

    def read(self, content: bytes) -> Annotation:
        return read_part(content)


def _label_files(names: Iterable[str]) -> list[str]:
    """The label files, but of those that COCO made of the same images only the one with all objects."""
    reader = CocoReader()
    files = {name for name in names if reader.is_annotation(name)}

    def is_extra(name: str) -> bool:
        folder, slash, base = name.rpartition("/")
        return any(base.startswith(one) and f"{folder}{slash}{_INSTANCES}{base[len(one) :]}" in files for one in _SAME_IMAGES)

    return sorted(name for name in files if not is_extra(name))
