"""The faults that labeled images can have."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Kind = Literal[
    "broken_labels",  # not well-formed, not of its format, or its size is not a number
    "dangerous_xml",  # declares entities, which an entity bomb does
    "labels_too_large",
    "unlabeled",  # an image that no label describes
    "missing_picture",  # there is an annotation, but no image
    "two_annotations",  # a second annotation for one image, or a second split
    "unknown_id",  # a label's image or class is not in the lists that its file has of them
    "only_crowds",  # all labels of an image are regions with many objects
    "same_stem",  # one annotation's name matches two images
    "not_a_picture",
    "picture_too_large",
    "own_output",  # an image that `boxcar detect` has drawn boxes on
    "truncated_picture",  # cannot be decoded to its end
    "size_mismatch",  # the annotation's size does not match the image in any orientation
    "not_a_box",  # a shape that marks an object, but gives no box, or only shapes without area
    "no_class_name",
    "unknown_class",  # a class id that the class list does not have
    "box_incomplete",  # a side is missing or not a number
    "box_not_finite",
    "box_upside_down",
    "box_without_area",
    "box_outside",
    "box_not_pixels",  # all sides are from 0 to 1
    "duplicate_across_splits",  # byte-identical images in two split folders; never stops the step
    "near_duplicate_across_splits",  # looks like an image of another split that is given; never stops the step
    "not_in_frozen_test",  # in a folder named test, although there is a held-out test split; never stops the step
]


_LISTED = 10  # faults, or those of one kind, that are listed one by one
_EXAMPLES = 3  # that are named of more


@dataclass(frozen=True, order=True)
class Fault:
    """One fault of one file.

    Args:
        file: the file's path, relative to the data folder.
        reason: what is wrong, as a clause that completes "FILE: ...".
        done: what was done about it.
    """

    file: str
    kind: Kind
    reason: str
    done: str = "left out"

    def as_json(self) -> dict[str, str]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


def grouped(faults: Sequence[Fault]) -> list[str]:
    """Faults as lines, the rarest kinds first, so that a single one is not lost among many: one line each or, of a kind that
    has many, one line with their number and the first few."""
    if len(faults) <= _LISTED:
        return list(map(str, faults))
    kinds = defaultdict[Kind, list[Fault]](list)
    for fault in faults:
        kinds[fault.kind].append(fault)
    lines: list[str] = []
    for kind, alike in sorted(kinds.items(), key=lambda item: (len(item[1]) > _LISTED, len(item[1]), item[0])):
        if len(alike) <= _LISTED:
            lines += map(str, alike)
        elif len({fault.reason for fault in alike}) == 1:
            files = ", ".join(fault.file for fault in alike[:_EXAMPLES])
            lines.append(f"{files}, ... ({len(alike)} files): {alike[0].reason}")
        else:
            some = "; ".join(map(str, alike[:_EXAMPLES]))
            lines.append(f"{len(alike)} faults of the kind {kind}: {some}; ...")
    return lines


class FaultyError(Exception):
    """A fault that ends the check of its file."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind: Kind = kind
        self.reason = reason


def shown(name: str) -> str:
    """A file's name as printable text: replaces bytes that are not UTF-8, and escapes control characters."""
    try:
        text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # a half of a character, which JSON can hold and no file's name
        text = name.encode("utf-8", "replace").decode()
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
