"""`index.html` in the records' folder: the data's health on one page."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from boxcar.pages.environment import page_environment
from boxcar.pages.thumbnails import CANVAS, Thumbnail, canvas_width, drawn, jpeg_uri
from boxcar.records.annotation import LabeledObject
from boxcar.records.checked import ROW, Row
from boxcar.records.duplicates import Duplicates
from boxcar.records.faults import Fault, shown
from boxcar.records.health import DEVIATIONS, FACTOR, FEWEST, GRID, INPUT, NEAR_COPY, SMALL, Health, Suspect, image_sizes
from boxcar.records.health_charts import center_cells, center_words, ratio_histogram, size_histogram
from boxcar.records.health_outlines import outline_paths
from boxcar.records.previews import Preview, preview
from boxcar.records.source import Source
from boxcar.records.table import Images
from boxcar.run.layout import PAGE
from boxcar.storage import replace_text

THUMBNAILS = 12
OPEN_ROWS, MOST_ROWS = 30, 1_000  # classes that a table shows, and those that it lists at all
EXAMPLES = 3  # of a kind of fault
MOST_WARNINGS = 200
MOST_SIZES = 6  # of images
_LONGEST = 300  # characters of a sentence
_JOINERS = "\u200c\u200d"  # zero-width non-joiner and joiner, which some scripts need


class _ClassRow(NamedTuple):
    """A class in the tables."""

    name: str
    boxes: int
    counts: Sequence[tuple[int, float]]  # per split: boxes, and their share of those of the split's most frequent class
    median: float | None  # pixels at the input; None without a box
    small: float | None  # share of its boxes


class _FaultRow(NamedTuple):
    """The faults of one kind."""

    kind: str
    number: int
    done: str
    examples: Sequence[Fault]


class _Suspicious(NamedTuple):
    """A suspicious label, as text."""

    file: str
    classes: str
    reason: str


def write_health_page(
    folder: Path,
    source: Source,
    dataset: Mapping[str, Any],
    faults: Sequence[Fault],
    images: Images,
    health: Health,
    thumbnails: Sequence[Thumbnail],
    duplicates: Duplicates,
    pairs: Sequence[tuple[str, Sequence[Thumbnail]]],
) -> None:
    """Writes the page. The same data gives the same bytes.

    Args:
        folder: of the records.
        source: the data folder.
        dataset: the content of `dataset.json`.
        faults: of the data.
        images: those that were written.
        health: of their boxes.
        thumbnails: of suspicious labels.
        duplicates, pairs: the sets of duplicates, and what `duplicate_thumbnails` makes of them.

    Raises:
        BoxcarError: 69 if it cannot be written.
    """
    sizes, size_count = image_sizes(images, MOST_SIZES)
    rows = _class_rows(dataset["splits"], health)
    listed, warnings = rows[:MOST_ROWS], dataset["warnings"]
    environment = page_environment("boxcar.records")
    environment.filters |= {"name": _name, "sentence": lambda text: _name(text, _LONGEST), "percent": percent}
    text = environment.get_template("health.html.jinja").render(
        labels=dataset["labels"],
        splits=dataset["splits"],
        pictures=len(images),
        negatives=sum(split["negatives"] for split in dataset["splits"].values()),
        health=health,
        class_count=len(rows),
        tables=[(listed[:OPEN_ROWS], False), (listed[OPEN_ROWS:], True)],
        unlisted=len(rows) - len(listed),
        smallest=sorted((row for row in listed if row.small and row.boxes >= FEWEST), key=lambda row: -(row.small or 0))[:3],
        thumbnails=thumbnails,
        duplicates=duplicates,
        pairs=pairs,
        suspicious=[_suspicious(source, images, suspect) for suspect in (*health.odd_boxes, *health.near_copies)],
        fault_rows=_fault_rows(faults),
        fault_count=len(faults),
        warnings=[_name(warning, _LONGEST) for warning in warnings[:MOST_WARNINGS]],
        more_warnings=max(0, len(warnings) - MOST_WARNINGS),
        histograms=[size_histogram(health, INPUT), ratio_histogram(health)],
        cells=center_cells(health),
        grid=GRID,
        center_words=center_words(health),
        sizes=[(width, height, count, count / sizes[0][2]) for width, height, count in sizes],
        size_count=size_count,
        widths=dataset["picture_width"],
        heights=dataset["picture_height"],
        input=INPUT,
        limit=SMALL,
        rule=f"more than {FACTOR:g} times larger, smaller, wider, or taller than the median of their class, and more than "
        f"{DEVIATIONS:g} median absolute deviations away from it",
        near_copy=NEAR_COPY,
    )
    replace_text(folder / PAGE, text)


def suspicious_thumbnails(source: Source, images: Images, health: Health) -> list[Thumbnail]:
    """At most `THUMBNAILS` images with suspicious labels: about as many odd boxes as near copies, if there are enough.

    Raises:
        BoxcarError: 65 if an image has changed since it was checked; 69 if it cannot be read.
    """
    copies = min(len(health.near_copies), max(THUMBNAILS // 2, THUMBNAILS - len(health.odd_boxes)))
    chosen = [*health.odd_boxes[: THUMBNAILS - copies], *health.near_copies[:copies]]
    found = {suspect.row: Row._make(next(ROW.iter_unpack(images[suspect.row].tobytes()))) for suspect in chosen}
    tasks = [Preview(source.root, source.file_of(row), row) for row in found.values()]
    small = {task.row.image: jpeg for task, jpeg in source.workers.run(preview, tasks)}
    return [_thumbnail(source.listing.names[found[one.row].image], found[one.row], one, small) for one in chosen]


def _thumbnail(file: str, row: Row, suspect: Suspect, small: Mapping[int, bytes]) -> Thumbnail:
    width = canvas_width(row.width, row.height)
    boxes = [
        drawn(
            (item.ymin / row.height, item.xmin / row.width, item.ymax / row.height, item.xmax / row.width),
            _name(item.name),
            width,
            CANVAS,
        )
        for item in suspect.objects
    ]
    # Two captions at one place would not be legible.
    others = tuple(box._replace(text="") for box in boxes[1:])
    words = f"{_classes(suspect.objects)}: {suspect.reason}"
    outlines = outline_paths(suspect.objects, row.height)
    description = f"{shown(file)}. {words}."
    return Thumbnail(jpeg_uri(small[row.image]), width, CANVAS, shown(file), (boxes[0],), others, words, description, outlines)


def _suspicious(source: Source, images: Images, suspect: Suspect) -> _Suspicious:
    file = source.listing.names[int(images["image"][suspect.row])]
    return _Suspicious(shown(file), _classes(suspect.objects), suspect.reason)


def _classes(objects: Sequence[LabeledObject]) -> str:
    return " and ".join(dict.fromkeys(_name(item.name) for item in objects))


def _class_rows(splits: Mapping[str, Any], health: Health) -> list[_ClassRow]:
    """The classes, the most frequent first."""
    per_class = [split["per_class"] for split in splits.values()]
    most = [max(counts.values(), default=0) or 1 for counts in per_class]
    rows = []
    for name in per_class[0]:
        counts = [(found[name], found[name] / top) for found, top in zip(per_class, most, strict=True)]
        sizes = health.sizes.get(name)
        rows.append(
            _ClassRow(
                name,
                sum(count for count, _ in counts),
                counts,
                None if sizes is None else sizes.median,
                None if sizes is None else sizes.small,
            )
        )
    return sorted(rows, key=lambda row: -row.boxes)


def _fault_rows(faults: Sequence[Fault]) -> list[_FaultRow]:
    """The faults by kind and by what was done, the rarest first."""
    kinds = defaultdict[tuple[str, str], list[Fault]](list)
    for fault in faults:
        kinds[fault.kind, fault.done].append(fault)
    rows = [_FaultRow(kind, len(alike), done, alike[:EXAMPLES]) for (kind, done), alike in kinds.items()]
    return sorted(rows, key=lambda row: (row.number, row.kind, row.done))


def _name(name: str, most: int = 80) -> str:
    """A name or a sentence with names as printable text, with at most `most` characters."""
    text = "".join(sign if sign in _JOINERS else shown(sign) for sign in name[: most + 1])
    return text if len(text) <= most else f"{text[: most - 1]}…"


def percent(share: float) -> str:
    """A share as text; only all are 100%, and only none are 0%."""
    if 0 < share < 0.005:
        return "under 1%"
    return "over 99%" if 0.995 <= share < 1 else f"{share * 100:.0f}%"
