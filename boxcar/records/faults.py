"""The faults that labeled images can have."""

from dataclasses import asdict, dataclass
from typing import Literal

Kind = Literal[
    "broken_labels",  # not well-formed, not an <annotation>, or its size is not a number
    "dangerous_xml",  # declares entities, which an entity bomb does
    "labels_too_large",
    "missing_picture",  # there is an annotation, but no image
    "two_annotations",  # a second annotation for one image
    "unknown_id",  # a label's image or class is not in the lists that its file has of them
    "only_crowds",  # all labels of an image are regions with many objects
    "same_stem",  # one annotation's name matches two images
    "not_a_picture",
    "picture_too_large",
    "own_output",  # an image that `boxcar detect` has drawn boxes on
    "truncated_picture",  # cannot be decoded to its end
    "size_mismatch",  # the annotation's size does not match the image in any orientation
    "no_class_name",
    "box_incomplete",  # a side is missing or not a number
    "box_not_finite",
    "box_upside_down",
    "box_without_area",
    "box_outside",
    "duplicate_across_splits",  # byte-identical images in two split folders; never stops the step
    "not_in_frozen_test",  # in a folder named test, although there is a held-out test split; never stops the step
]


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


class FaultyError(Exception):
    """A fault that ends the check of its file."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind: Kind = kind
        self.reason = reason


def shown(name: str) -> str:
    """A file's name as printable text: replaces bytes that are not UTF-8, and escapes control characters."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
