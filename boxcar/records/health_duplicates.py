"""The duplicates on the health page: two images of a set side by side, with their boxes."""

from boxcar.pages.thumbnails import CANVAS, Thumbnail, canvas_width, drawn, jpeg_uri
from boxcar.records.annotation import unpack
from boxcar.records.checked import ROW, Row
from boxcar.records.duplicates import Duplicates, Twins
from boxcar.records.faults import shown
from boxcar.records.health_outlines import outline_paths
from boxcar.records.previews import Preview, preview
from boxcar.records.source import Source
from boxcar.records.split_names import NO_SPLIT, SPLITS

_MOST_BOXES = 50  # that are drawn over an image


def duplicate_thumbnails(source: Source, duplicates: Duplicates) -> list[tuple[str, list[Thumbnail]]]:
    """A heading for each set, and two of its images.

    Raises:
        BoxcarError: 65 if an image has changed since it was checked; 69 if it cannot be read.
    """
    rows = [list(map(Row._make, ROW.iter_unpack(twins.rows.tobytes()))) for twins in duplicates.drawn]
    tasks = {row.image: Preview(source.root, source.file_of(row), row) for pair in rows for row in pair}
    small = {task.row.image: jpeg for task, jpeg in source.workers.run(preview, tasks.values())}
    return [
        (_heading(twins), [_thumbnail(source, twins, at, row, small[row.image]) for at, row in enumerate(pair)])
        for twins, pair in zip(duplicates.drawn, rows, strict=True)
    ]


def _heading(twins: Twins) -> str:
    return twins.what if twins.number == 2 else f"{twins.what}, two of {twins.number:,} images"


def _thumbnail(source: Source, twins: Twins, at: int, row: Row, jpeg: bytes) -> Thumbnail:
    width = canvas_width(row.width, row.height)
    objects = unpack(source.table.objects(twins.rows[at : at + 1]))
    boxes = tuple(
        drawn((one.ymin / row.height, one.xmin / row.width, one.ymax / row.height, one.xmax / row.width), "", width, CANVAS)
        for one in objects[:_MOST_BOXES]
    )
    split = "left out" if row.split == NO_SPLIT else SPLITS[row.split]
    words = f"{row.width} × {row.height} pixels, {len(objects)} {'box' if len(objects) == 1 else 'boxes'}, {split}"
    file = shown(source.listing.names[row.image])
    outlines = outline_paths(objects[:_MOST_BOXES], row.height)
    return Thumbnail(jpeg_uri(jpeg), width, CANVAS, file, boxes, (), words, f"{file}. {words}.", outlines)
