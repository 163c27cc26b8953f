"""The label maps (.pbtxt) beside TFRecords, which give the classes by their ids."""

import re

from boxcar.data.label_map import parsed_label_map
from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.faults import shown
from boxcar.records.reader import DataFiles

_ITEM = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|#[^\n]*\n)*item\s*:?\s*\{")  # other .pbtxt files are graphs and such
_LARGEST = 10_000_000  # bytes


def read_label_maps(files: DataFiles) -> tuple[dict[int, str], tuple[str, ...]]:
    """The classes by id in all label maps of a data folder, and the files. A class may be in some of them only.

    Raises:
        BoxcarError: 65 if a label map is broken; 64 if two differ.
    """
    labels: dict[int, str] = {}
    origin: dict[int, str] = {}  # the first file that has the id
    found = []
    for name in files.names:
        if not name.lower().endswith(".pbtxt") or not _ITEM.match(files.beginning(name)):
            continue
        found.append(name)
        for number, text in parsed_label_map(files.beginning(name, _LARGEST), shown(name)).items():
            if labels.setdefault(number, text) != text:
                one = f"{shown(origin[number])} says {labels[number]}"
                what = f"Two label maps differ about the class {number}: {one}, and {shown(name)} says {text}."
                raise BoxcarError(ExitCode.USAGE, what, "Move away the one that does not belong to the TFRecords.")
            origin.setdefault(number, name)
    return labels, tuple(found)
