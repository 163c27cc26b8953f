"""YOLO: one text file per image with a line per object, and the classes in a file beside them.

A line is `class cx cy w h` (the center and the size of a box), which a confidence or a track id may follow, or
`class x1 y1 x2 y2 x3 y3 ...` (an outline, whose box is its extent). Numbers are shares of the upright image's width and height.
An empty file means an image without objects. `yolo_layout` reads the classes and the splits.
"""

import hashlib
import math
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.annotation import Annotation, RawObject, Side, parsed_number
from boxcar.records.faults import Fault, FaultyError, shown
from boxcar.records.formats.text import decoded, encoding_of, opened_text
from boxcar.records.formats.yolo_layout import CLASSES, SPLIT_KEYS, Claim, Layout, class_files, read_layout
from boxcar.records.image_index import ImageIndex
from boxcar.records.images import is_image
from boxcar.records.outline import Outline
from boxcar.records.pairing import labeled, paired
from boxcar.records.reader import DataFiles, Item, Listing, Recognized
from boxcar.records.split_names import SPLITS

_LOOKED_AT = 100  # label files, by which the format is recognized; the first that looks like one decides
_MOST_OTHERS = 1000  # text files without an image that are looked at; more count as label files
_CLASS = re.compile(r"(\d{1,9})(?:\.0*)?", re.ASCII)
_LONGEST_PATH = 10_000  # characters of a line of a list
_LARGEST_SHARE = 2.0  # far more than any box extends beyond its image


def recognize(files: DataFiles) -> Recognized | None:
    """Recognizes text files that look like labels and have the name of an image.

    If none looks like labels, because all are empty or damaged, the class list decides. The `classes.txt` of labelImg, which
    Pascal VOC has as well, does so only for empty files.

    Raises:
        BoxcarError: 65 if there is no class list; what `read_layout` raises.
    """
    texts = [name for name in files.names if _is_text(name)]
    if not texts:
        return None
    lists = class_files(files.names)
    labels, others = _by_image(files.names, texts)
    labels = [name for name in labels if name not in lists]
    # If there is a class list, labels of images that are all missing are labels, too.
    texts = labels or (others if lists else [])
    evident, others_seen = _first_labels(files, texts)
    sure = any(_base(name).lower() != CLASSES for name in lists)
    if evident is None and not (labels and lists and (sure or not others_seen)):
        return None
    layout = read_layout(files)
    if not layout.names:
        if evident is None:
            return None
        raise BoxcarError(
            ExitCode.DATA,
            f"Nothing says what the classes of the YOLO labels are, such as those in {shown(evident)}.",
            "Add the data.yaml with their names, or a classes.txt with one name per line in the order of their numbers.",
        )
    looks = ((name, _looks_like_labels(files, name)) for name in islice(others, _MOST_OTHERS))
    # An empty file may be the label file of a missing image, but not if it is named like a list of a split.
    unread = {name for name, look in looks if look is False or (look is None and _base(name)[:-4].lower() in SPLIT_KEYS)}
    return Recognized(YoloReader(layout, frozenset(unread)), layout.class_list, layout.notes)


@dataclass(frozen=True)
class YoloReader:
    """Reads YOLO labels; see `boxcar.records.reader.AnnotationReader`.

    Attributes:
        layout: the classes and the splits.
        others: text files that hold no labels.
    """

    layout: Layout
    others: frozenset[str] = frozenset()

    format = "yolo"
    title = "YOLO"

    def is_annotation(self, name: str) -> bool:
        return name in self.layout.files or (_is_text(name) and name not in self.others)

    def image_names(self, content: bytes) -> list[str]:
        return []

    def items(self, listing: Listing) -> Iterator[Item | Fault]:
        splits = _Splits(listing, self.layout.claims)
        yield from splits.read_lists()
        for item in paired(self._labels_of(listing)):
            yield item if isinstance(item, Fault) or item.image is None else splits.assigned(item, item.image)

    def labeled_images(self, listing: Listing) -> set[str]:
        return labeled(paired(self._labels_of(listing)))

    def digest(self, content: bytes) -> bytes:
        return hashlib.sha256(self.layout.digest + content).digest()

    def read(self, content: bytes) -> Annotation:
        """Parses a label file.

        Raises:
            FaultyError: `broken_labels`, `unknown_class`, `box_incomplete`, `box_not_finite`, or `box_outside`.
        """
        lines = enumerate(decoded(content).splitlines(), start=1)
        objects = [self._object(number, values) for number, line in lines if (values := line.split())]
        return Annotation(None, None, objects, relative=True)

    def _labels_of(self, listing: Listing) -> Listing:
        names = [name for name in listing.names if name not in self.layout.files]
        return Listing(names, listing.image_names, listing.open)

    def _object(self, line: int, values: Sequence[str]) -> RawObject:
        found = _CLASS.fullmatch(values[0])
        if found is None and not re.fullmatch(r"-?[\d.]+", values[0], re.ASCII):
            raise FaultyError("broken_labels", f"line {line} begins with {shown(values[0][:40])!r}, which is no class id")
        name = None if found is None else self.layout.names.get(int(found[1]))
        if name is None:
            known = f"names only {_ids(sorted(self.layout.names))}"
            reason = f"line {line} has the class {values[0][:40]}, but {shown(self.layout.class_list)} {known}"
            raise FaultyError("unknown_class", reason)
        numbers = [_share(line, value) for value in values[1:]]
        if len(numbers) in (4, 5) or (self.layout.keypoints and len(numbers) > 5):
            _require_shares(line, numbers[:4])
            return RawObject(name, _box(*numbers[:4]))
        if len(numbers) < 6 or len(numbers) % 2:
            count = f"{len(numbers)} number{'' if len(numbers) == 1 else 's'} after its class"
            raise FaultyError("broken_labels", f"line {line} has {count}, neither a box (4) nor an outline (6, 8, ...)")
        _require_shares(line, numbers)
        across, down = numbers[::2], numbers[1::2]
        return RawObject(name, (min(across), min(down), max(across), max(down)), outline=Outline([numbers]))


class _Splits:
    """The splits that lists and folders give to the images of a listing."""

    def __init__(self, listing: Listing, claims: Sequence[Claim]) -> None:
        self._listing = listing
        self._folders = [claim for claim in claims if not claim.is_list]
        self._lists = [claim for claim in claims if claim.is_list]
        self._listed: dict[int, array[int]] = {}  # per split, for each name of the listing: the number of its list, from 1

    def read_lists(self) -> Iterator[Fault]:
        """Reads all lists. Yields their faults."""
        if not self._lists:
            return
        index = ImageIndex(self._listing.names)
        for number, claim in enumerate(self._lists, start=1):
            listed = self._listed.setdefault(claim.split, array("H", bytes(2 * len(self._listing.names))))
            missing, first = 0, ""
            try:
                for given in _paths(self._listing, claim.target):
                    try:
                        image = index.find(given, claim.target)
                    except FaultyError as error:
                        yield Fault(shown(claim.target), error.kind, f"its {error.reason}")
                        continue
                    if image is None:
                        missing, first = missing + 1, first or given
                    else:
                        listed[bisect_left(self._listing.names, image)] = number
            except FaultyError as error:
                yield Fault(shown(claim.target), error.kind, error.reason)
            if missing:
                more = f", and so {'is 1 other' if missing == 2 else f'are {missing - 1} others'}" if missing > 1 else ""
                yield Fault(shown(claim.target), "missing_picture", f"its image {shown(first[:300])} is missing{more}")

    def assigned(self, item: Item, image: str) -> Item | Fault:
        """An item with its split, or a fault if there are two."""
        claims = {claim.split: claim for claim in self._folders if not claim.target or image.startswith(f"{claim.target}/")}
        if self._listed:
            place = bisect_left(self._listing.names, image)
            claims |= {split: self._lists[listed[place] - 1] for split, listed in self._listed.items() if listed[place]}
        if len(claims) > 1:
            one, other, *_ = claims.values()
            reason = f"{_who(one)} gives it to {SPLITS[one.split]}, and {_who(other)} to {SPLITS[other.split]}"
            return Fault(shown(image), "two_annotations", reason)
        return item._replace(split=next(iter(claims), None))


def _who(claim: Claim) -> str:
    return shown(claim.target) if claim.is_list else f"{claim.key} in {shown(claim.file)}"


def _paths(listing: Listing, name: str) -> Iterator[str]:
    with opened_text(listing.open(name)) as lines:
        while line := lines.readline(_LONGEST_PATH):
            if path := line.strip():
                yield path


def _share(line: int, value: str) -> float:
    number = parsed_number(value)
    if number is None:
        raise FaultyError("box_incomplete", f"line {line} has {shown(value[:40])!r} where a number should be")
    if not math.isfinite(number):
        raise FaultyError("box_not_finite", f"line {line} has {value[:40]}, which is not finite")
    return number


def _require_shares(line: int, numbers: Sequence[float]) -> None:
    largest = max(numbers, key=abs)
    if abs(largest) > _LARGEST_SHARE:
        raise FaultyError("box_outside", f"line {line} has {largest:g}, but numbers must be shares of the image, from 0 to 1")


def _box(cx: float, cy: float, width: float, height: float) -> tuple[Side, Side, Side, Side]:
    return cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2


def _ids(ids: Sequence[int]) -> str:
    if len(ids) == 1:
        return f"the class {ids[0]}"
    together = ids[-1] - ids[0] == len(ids) - 1
    return f"the classes {ids[0]} to {ids[-1]}" if together else f"{len(ids)} classes up to {ids[-1]}"


def _by_image(names: Sequence[str], texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Text files that have the name of an image, wherever it is, and the others."""
    away = [name for name in texts if not any(_is_stem(names, stem) for stem in _stems(name))]
    wanted = {_base(name)[:-4] for name in away}
    if wanted:
        wanted &= {_base(name).rpartition(".")[0] for name in names if is_image(name)}
    others = {name for name in away if _base(name)[:-4] not in wanted}
    return [name for name in texts if name not in others], sorted(others)


def _stems(text: str) -> Iterator[str]:
    """The paths that a label file's image has almost always, without suffix."""
    yield text[:-4]
    above, folder, below = text[:-4].rpartition("labels/")
    if folder:
        yield f"{above}images/{below}"


def _is_stem(names: Sequence[str], stem: str) -> bool:
    at = bisect_left(names, f"{stem}.")
    while at < len(names) and names[at].startswith(f"{stem}."):
        if is_image(names[at]) and names[at].rpartition(".")[0] == stem:
            return True
        at += 1
    return False


def _first_labels(files: DataFiles, texts: Sequence[str]) -> tuple[str | None, bool]:
    """The first of some texts that looks like labels, and whether one before it looks otherwise."""
    others = False
    for name in texts[:: max(1, len(texts) // _LOOKED_AT)][:_LOOKED_AT]:
        look = _looks_like_labels(files, name)
        if look:
            return name, others
        others |= look is False
    return None, others


def _looks_like_labels(files: DataFiles, name: str) -> bool | None:
    """Whether a text begins like labels; None if it is empty."""
    beginning = files.beginning(name)
    lines = beginning.decode(encoding_of(beginning), "replace").splitlines()
    values = next((values for line in lines if (values := line.split()[:5])), None)
    if values is None:
        return None
    return len(values) == 5 and _CLASS.fullmatch(values[0]) is not None and None not in map(parsed_number, values)


def _is_text(name: str) -> bool:
    return name[-4:].lower() == ".txt"


def _base(name: str) -> str:
    return name.rpartition("/")[2]
