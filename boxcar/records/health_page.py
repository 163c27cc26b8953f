"""`index.html` in the records' folder: the data's health on one page."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from boxcar.pages.environment import page_environment
from boxcar.pages.thumbnails import CANVAS, Thumbnail, canvas_width, drawn, jpeg_uri
from boxcar.records.annotation import LabeledObject
from boxcar.records.check import ROW, Row
from boxcar.records.faults import Fault, shown
from boxcar.records.health import (
    DEVIATIONS,
    FACTOR,
    FEWEST,
    GRID,
    INPUT,
    LISTED,
    NEAR_COPY,
    RATIO_BARS,
    SIZE_BARS,
    SMALL,
    Health,
    Suspect,
    image_sizes,
)
from boxcar.records.histogram import histogram
from boxcar.records.previews import Preview, preview
from boxcar.records.table import Images
from boxcar.records.workers import WorkerPool
from boxcar.run.layout import PAGE
from boxcar.storage import replace_text

THUMBNAILS = 12
SHOWN_CLASSES, MOST_CLASSES = 30, 1_000  # rows that are open, and all rows
MOST_KINDS_SHOWN = 3  # examples of a kind of fault
MOST_WARNINGS = 200
MOST_SIZES = 6
_LONGEST = 80  # characters of a class's name


class _ClassRow(NamedTuple):
    """A class in the tables."""

    name: str
    boxes: int
    counts: Sequence[tuple[int, float]]  # per split: boxes, and their share of those of the split's most frequent class
    median: float | None  # pixels at the input
    small: float | None


class _FaultRow(NamedTuple):
    """The faults of one kind."""

    kind: str
    count: int
    examples: Sequence[Fault]
    done: str


def write_health_page(
    folder: Path, dataset: Mapping[str, Any], faults: Sequence[Fault], images: Images, health: Health, shown_images: list[Thumbnail]
) -> None:
    """Writes the page.

    Args:
        folder: of the records.
        dataset: the content of `dataset.json`.
        faults: of the data.
        images: those that were written.
        health: of their boxes.
        shown_images: from `thumbnails`.

    Raises:
        BoxcarError: 69 if it cannot be written.
    """
    sizes, kinds = image_sizes(images, MOST_SIZES)
    rows = _class_rows(dataset, health)
    environment = page_environment("boxcar.records")
    environment.filters |= {"shown": class_name, "percent": percent}
    text = environment.get_template("health.html.jinja").render(
        dataset=dataset,
        splits=dataset["splits"],
        pictures=len(images),
        health=health,
        suspicious=health.odd_count + health.near_count,
        rows=rows[:SHOWN_CLASSES],
        more_rows=rows[SHOWN_CLASSES:MOST_CLASSES],
        unlisted=max(0, len(rows) - MOST_CLASSES),
        small_rows=sorted((row for row in rows if row.small), key=lambda row: -(row.small or 0))[:SHOWN_CLASSES],
        thumbnails=shown_images,
        faults=fault_rows(faults),
        fault_count=len(faults),
        warnings=dataset["warnings"][:MOST_WARNINGS],
        more_warnings=max(0, len(dataset["warnings"]) - MOST_WARNINGS),
        size_chart=histogram(
            health.size_counts, [(2 ** (n / 2), n - SIZE_BARS.start) for n in SIZE_BARS if n % 2 == 0 and n > SIZE_BARS.start]
        ),
        size_bars=[f"{2 ** (n / 2):.0f}" for n in SIZE_BARS],
        small_bars=sum(2 ** (n / 2) < SMALL for n in SIZE_BARS),
        ratio_chart=[],
        cells=list(_cells(health)),
        sizes=sizes,
        kinds=kinds,
        input=INPUT,
        small=SMALL,
        grid=GRID,
        rule=(DEVIATIONS, FACTOR, FEWEST, NEAR_COPY),
        listed=LISTED,
    )
    replace_text(folder / PAGE, text)
