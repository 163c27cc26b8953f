"""The look at one picture and its XML: everything that can be said of them without knowing the others."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.faults import Fault, FaultyError, Kind, shown
from boxcar.records.pictures import LARGEST_FILE, Picture, Treatment, inspect
from boxcar.records.split import folder_split
from boxcar.records.voc import LARGEST_XML, Annotation, Labelled, checked_objects, packed, read_annotation

# Into the table whose schema is `split.SCHEMA`.
INSERT = (
    "INSERT INTO pictures"
    " (name, sha256, folder, size, modified, width, height, treatment, turn, objects, digest)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Pair(NamedTuple):
    """A picture and its XML, one of which may be missing; paths relative to the data folder."""

    picture: bytes | None
    xml: bytes | None


@dataclass(frozen=True)
class Batch:
    """A task: some pairs below one folder."""

    root: Path
    pairs: list[Pair]
    full_decode: bool


@dataclass
class Examined:
    """What the look at a pair found. Sizes and boxes are those of the picture as it will stand in the record."""

    pair: Pair
    picture_sha256: bytes = b""
    xml_sha256: bytes = b""
    size: int = 0  # bytes of the picture's file
    modified: int = 0  # nanoseconds since the epoch, to notice a change before the second reading
    width: int = 0
    height: int = 0
    treatment: Treatment = "keep"
    turn: bool = False
    objects: list[Labelled] = field(default_factory=list)
    clipped: int = 0
    faults: list[Fault] = field(default_factory=list)

    def blame(self, file: bytes, kind: Kind, reason: str) -> None:
        self.faults.append(Fault(shown(file), kind, reason))


@dataclass
class Looked:
    """What was found in many pairs: rows for the tables `inputs` and `pictures`, and what is known beside them."""

    read: list[tuple[bytes, bytes]] = field(default_factory=list)  # (name, SHA-256) of every file
    rows: list[tuple[Any, ...]] = field(default_factory=list)  # what INSERT takes; sound pictures only
    faults: list[Fault] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    clipped: int = 0
    without_xml: int = 0

    def add(self, other: "Looked") -> None:
        """Takes in what does not belong in a table."""
        self.faults += other.faults
        self.classes |= other.classes
        self.clipped += other.clipped
        self.without_xml += other.without_xml

    def take(self, examined: Examined) -> None:
        picture, xml = examined.pair
        if picture is not None:
            self.read.append((picture, examined.picture_sha256))
        if xml is not None:
            self.read.append((xml, examined.xml_sha256))
        self.faults += examined.faults
        if examined.faults:
            return
        assert picture is not None
        boxes = sorted(item[:5] for item in examined.objects)
        self.classes.update(item.name for item in examined.objects)
        self.clipped += examined.clipped
        self.without_xml += xml is None
        self.rows.append(
            (
                picture,
                examined.picture_sha256,
                folder_split(picture) or (folder_split(xml) if xml is not None else None),
                examined.size,
                examined.modified,
                examined.width,
                examined.height,
                examined.treatment,
                examined.turn,
                packed(examined.objects),
                hashlib.sha256(examined.picture_sha256 + repr(boxes).encode()).digest(),
            )
        )


def examine(batch: Batch, advance: Callable[[int], None]) -> Looked:
    """Reads and checks the pairs.

    Raises:
        BoxcarError: 69 where a file may not be read.
    """
    looked = Looked()
    for pair in batch.pairs:
        looked.take(_examined(batch.root, pair, batch.full_decode))
    advance(len(batch.pairs))
    return looked


def _examined(root: Path, pair: Pair, full_decode: bool) -> Examined:
    result = Examined(pair)
    annotation = picture = None
    if pair.xml is not None:
        annotation = _read_xml(root, pair.xml, result)
    if pair.picture is not None:
        picture = _read_picture(root, pair.picture, full_decode, result)
    elif annotation is not None and pair.xml is not None:
        named = f" and none named {annotation.filename}" if annotation.filename else ""
        result.blame(pair.xml, "missing_picture", f"there is no picture of its name{named} beside it")
    if picture is not None and not result.faults:
        _fit(annotation, picture, result)
    return result


def _read_xml(root: Path, name: bytes, result: Examined) -> Annotation | None:
    try:
        content, _ = read_file(root, name, LARGEST_XML, "xml_too_large")
        result.xml_sha256 = hashlib.sha256(content).digest()
        return read_annotation(content)
    except FaultyError as error:
        result.blame(name, error.kind, error.reason)
    return None


def _read_picture(root: Path, name: bytes, full_decode: bool, result: Examined) -> Picture | None:
    try:
        content, status = read_file(root, name, LARGEST_FILE, "picture_too_large")
        result.picture_sha256 = hashlib.sha256(content).digest()
        result.size, result.modified = status.st_size, status.st_mtime_ns
        return inspect(content, full_decode)
    except FaultyError as error:
        result.blame(name, error.kind, error.reason)
    return None


def _fit(annotation: Annotation | None, picture: Picture, result: Examined) -> None:
    """Finds out which way up the picture was labelled, and checks the boxes in it.

    Where both ways have the same size (a square, a half turn, a mirror image) or the XML tells none, the picture is taken
    as turned, because that is how labelImg and every other program show it.
    """
    size = annotation.size if annotation is not None else None
    stored = (picture.width, picture.height)
    result.turn = size is None or size == picture.turned_size
    if size is not None and size not in (stored, picture.turned_size):
        turned = f", {'×'.join(map(str, picture.turned_size))} when turned" if stored != picture.turned_size else ""
        assert result.pair.xml is not None
        result.blame(
            result.pair.xml,
            "size_mismatch",
            f"it says {size[0]}×{size[1]}, the picture is {stored[0]}×{stored[1]}{turned}",
        )
    result.width, result.height = picture.turned_size if result.turn else stored
    result.treatment = picture.treatment(result.turn)
    if annotation is not None and result.pair.xml is not None:
        # After a wrong size every box would be blamed too, for the same reason.
        if result.faults:
            return
        result.objects, result.clipped, problems = checked_objects(annotation, result.width, result.height)
        for kind, reason in problems:
            result.blame(result.pair.xml, kind, reason)


def read_file(root: Path, name: bytes, limit: int, too_large: Kind) -> tuple[bytes, os.stat_result]:
    """A data file's bytes and its status.

    Raises:
        FaultyError: it is gone, no plain file, or larger than `limit` bytes.
        BoxcarError: 69 where it may not be read.
    """
    unusable: Kind = "broken_xml" if too_large == "xml_too_large" else "not_a_picture"
    path = os.path.join(os.fsencode(root), name)  # noqa: PTH118 - names need not be text
    try:
        # Without O_NONBLOCK a named pipe would be waited for.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FaultyError(unusable, "it is no file")
            if status.st_size > limit:
                raise FaultyError(too_large, f"it has {status.st_size:,} bytes; {limit:,} are the most")
            return file.readall(), status
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            raise FaultyError(unusable, "it is a link to nothing") from error
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"{shown(path)} cannot be read: {error.strerror or error}.",
            "Give yourself the right to read it, then run the same command again.",
        ) from error
