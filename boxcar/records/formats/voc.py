"""Pascal VOC as labelImg writes it: one XML file per image.

labelImg stores the edges of a rectangle in pixels, but writes 1 for an edge at 0. Roboflow adds polygons. The LabelMe of the
MIT writes only polygons. In the Pascal VOC tree, a PNG in `SegmentationObject` has the masks of an image's objects.
"""

import io
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, islice

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.annotation import SIDES, Annotation, RawObject, Side, parsed_number
from boxcar.records.faults import Fault, FaultyError, shown
from boxcar.records.formats.text import is_marked
from boxcar.records.images import is_image
from boxcar.records.outline import Outline
from boxcar.records.paired_reader import PairedReader
from boxcar.records.pairing import paired
from boxcar.records.reader import DataFiles, Item, Listing, Recognized
from boxcar.records.split_names import NO_SPLIT, named_split

_ROOT = re.compile(rb"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)")
_DECLARATION = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["'][^>]*?\?>""")
_ENCODINGS = ("gb", "big5", "euc", "shift", "sjis", "cp932", "cp936", "cp949", "cp950", "iso-2022", "johab", "hz")
_LONGEST_LINE = 4096  # of a list of a split; no name is longer
_LOOKED_AT = 20  # files, by which another format's XML is noticed


def recognize(files: DataFiles) -> Recognized | None:
    """Recognizes XML files, unless their root is that of CVAT. Files without a readable root are faulty ones of this format."""
    reader = VocReader(tuple(filter(_is_list, files.names)))
    found = (name for name in files.names if reader.is_annotation(name))
    for name in islice(found, _LOOKED_AT):
        root = _ROOT.search(files.beginning(name))
        if root is None or root[1] != b"annotations":
            return Recognized(reader, name)
    return None


@dataclass(frozen=True)
class VocReader(PairedReader):
    """Reads Pascal VOC XML; see `boxcar.records.reader.AnnotationReader`.

    Attributes:
        lists: the files below `ImageSets/Main` that give the split: `train.txt`, `val.txt`, `test.txt`.
    """

    lists: tuple[str, ...] = ()

    format = "voc"
    title = "Pascal VOC"
    uses_masks = True

    def is_annotation(self, name: str) -> bool:
        return name[-4:].lower() == ".xml"

    def items(self, listing: Listing) -> Iterator[Item | Fault]:
        splits, faults = _listed_splits(self.lists, listing)
        yield from faults
        masks = {(_tree(name), _stem(name)): name for name in listing.masks}
        for item in paired(listing):
            if splits and isinstance(item, Item) and item.image is not None:
                item = item._replace(split=splits.get(_stem(item.image)))
            if masks and isinstance(item, Item) and item.image is not None and item.source is not None:
                item = item._replace(masks=masks.get((_tree(item.image), _stem(item.image))))
            yield item

    def read(self, content: bytes) -> Annotation:
        """Parses an XML file's bytes.

        Raises:
            FaultyError: `dangerous_xml` or `broken_labels`.
        """
        try:
            root = _parsed(_as_utf8(content.lstrip()))  # some tools write blanks before the XML declaration
        except DefusedXmlException as error:
            raise FaultyError("dangerous_xml", "the XML declares entities, which no annotation needs") from error
        except ParseError as error:
            raise FaultyError("broken_labels", f"the XML is broken ({error})") from error
        except (ValueError, LookupError) as error:
            raise FaultyError("broken_labels", f"the XML's encoding cannot be read ({error})") from error
        if "}" in root.tag:
            for element in root.iter():
                element.tag = element.tag.rpartition("}")[2]  # a namespace changes nothing
        if root.tag != "annotation":
            raise FaultyError("broken_labels", f"the XML's root is <{root.tag[:40]}>, not <annotation>")
        filename = _text(root.findtext("filename"))
        # A name from another system may contain that system's folders.
        image = filename.replace("\\", "/").rsplit("/", 1)[-1] if filename else None
        return Annotation(image, _size(root), [found for item in root.iter("object") for found in _objects(item)])


def _is_list(name: str) -> bool:
    """Whether a file lists the images of a split. Lists of a class, such as `cat_train.txt`, tell nothing about the split."""
    folder, _, base = name.rpartition("/")
    stem, _, suffix = base.rpartition(".")
    return suffix.lower() == "txt" and folder.lower().endswith("imagesets/main") and named_split(stem) != NO_SPLIT


def _listed_splits(lists: Sequence[str], listing: Listing) -> tuple[dict[str, int], list[Fault]]:
    """The split of each image that a list names, by the image's name without folders and suffix; and lists that cannot be read.

    Raises:
        BoxcarError: 64 if two lists name an image for different splits.
    """
    found: dict[str, tuple[int, str]] = {}
    faults = []
    for name in lists:
        split = named_split(name.rpartition("/")[2].rpartition(".")[0])
        try:
            for stem in _listed(name, listing):
                other = found.setdefault(stem, (split, name))
                if stem and other[0] != split:
                    what = f"{shown(other[1])} and {shown(name)} both list {shown(stem)}, which can be in one split only."
                    raise BoxcarError(ExitCode.USAGE, what, "Remove it from one of the two lists.")
        except FaultyError as error:
            faults.append(Fault(shown(name), error.kind, error.reason))
    return {stem: split for stem, (split, _) in found.items()}, faults


def _listed(name: str, listing: Listing) -> Iterator[str]:
    """The names in a list, without folders and suffix.

    Raises:
        FaultyError: the list cannot be read.
    """
    with listing.open(name) as file:
        text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape")
        for line in iter(partial(text.readline, _LONGEST_LINE), ""):
            base = line.strip().replace("\\", "/").rpartition("/")[2]
            yield _stem(base) if is_image(base) else base


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def _tree(name: str) -> str:
    """The folder that contains a file's folder."""
    return name.rpartition("/")[0].rpartition("/")[0]


def _as_utf8(content: bytes) -> bytes:
    """The XML in UTF-8 if its declaration names an encoding of several bytes a sign, such as GBK, which expat does not read."""
    declared = _DECLARATION.match(content)
    if declared is None:
        return content
    encoding = declared[1].decode("ascii")
    if not encoding.lower().startswith(_ENCODINGS):
        return content
    return content[declared.end() :].decode(encoding).encode()


def _parsed(content: bytes) -> ET.Element:
    """The root element. Takes half the time of defusedxml's `fromstring`: its parser refuses the same, but passes the elements
    directly to the tree builder."""
    builder = ET.TreeBuilder()
    parser = DefusedXMLParser(target=builder)
    expat = parser.parser
    expat.ordered_attributes = False  # the builder takes a dictionary
    expat.StartElementHandler, expat.EndElementHandler = builder.start, builder.end
    expat.CharacterDataHandler = builder.data
    parser.feed(content)
    root: ET.Element = parser.close()
    return root


def _size(root: ET.Element) -> tuple[int, int] | None:
    size = root.find("size")
    if size is None:
        return None
    texts = [size.findtext(side, "").strip() for side in ("width", "height")]
    width, height = (parsed_number(text) if text else 0.0 for text in texts)
    if width is None or height is None or not (width.is_integer() and height.is_integer()):
        raise FaultyError("broken_labels", "the XML's <size> has no whole <width> and <height>")
    # Some tools write zeros, negative numbers, or nothing for what they do not know.
    return (int(width), int(height)) if width > 0 and height > 0 else None


def _objects(item: ET.Element) -> Iterator[RawObject]:
    """One object for each box of an `<object>`; usually there is one. Without any, the box of its polygons."""
    boxes: Sequence[ET.Element | None] = item.findall("bndbox")
    polygons = [_points(polygon) for polygon in item.iterfind("polygon")]
    around: tuple[Side, Side, Side, Side] = (None, None, None, None)
    if polygons and not boxes:
        if is_marked(item.findtext("deleted")):  # LabelMe keeps objects that were removed
            return
        xs, ys = ([side for points in polygons for side in points[at::2]] for at in (0, 1))
        finite = xs and all(map(math.isfinite, (*xs, *ys)))
        around = (min(xs), min(ys), max(xs), max(ys)) if finite else (math.nan,) * 4
    difficult = is_marked(marked := item.findtext("difficult"))
    if difficult is None:
        raise FaultyError("broken_labels", f"its <difficult> is {shown(marked or '')[:40]}, which is neither 0 nor 1")
    for box in boxes or [None]:
        xmin, ymin, xmax, ymax = around if box is None else map(box.findtext, SIDES)
        yield RawObject(
            _text(item.findtext("name")) or "",
            (xmin, ymin, xmax, ymax),
            int(difficult),
            int(bool(is_marked(item.findtext("truncated")))),
            _text(item.findtext("pose")) or "Unspecified",
            Outline(polygons) if polygons and len(boxes) < 2 else None,
        )


def _points(polygon: ET.Element) -> list[float]:
    """The points [x, y, x, y, ...] of `<pt><x>1</x><y>2</y></pt>...` or `<x1>1</x1><y1>2</y1>...`.

    What is no number is NaN.
    """
    texts = [point.findtext(side) for point in polygon.iterfind("pt") for side in ("x", "y")]
    if not texts:
        found = {child.tag: child.text for child in polygon}
        last = next(number for number in count(1) if f"x{number}" not in found)
        texts = [found.get(f"{side}{number}") for number in range(1, last) for side in ("x", "y")]
    return [math.nan if number is None else number for number in map(parsed_number, texts)]


def _text(text: str | None) -> str | None:
    """A text on one line; None if there is none."""
    return " ".join(text.split()) or None if text else None
