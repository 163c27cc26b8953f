"""The label formats, one file each, and the choice of the one that a data folder is in.

A format's module has `recognize`, and a reader. May import the other modules of `records`, but not the step.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.faults import shown
from boxcar.records.formats import coco, csv_table, cvat, label_studio, labelme, tfrecord, via, voc, yolo
from boxcar.records.reader import DataFiles, Recognized

if TYPE_CHECKING:  # at run time, the worker processes would load pydantic
    from boxcar.config.run_settings import LabelFormat

FORMATS: "dict[LabelFormat, Callable[[DataFiles], Recognized | None]]" = {
    "voc": voc.recognize,
    "coco": coco.recognize,
    "yolo": yolo.recognize,
    "csv": csv_table.recognize,
    "cvat": cvat.recognize,
    "label-studio": label_studio.recognize,
    "labelme": labelme.recognize,
    "via": via.recognize,
    "tfrecord": tfrecord.recognize,
}


def find_reader(files: DataFiles, wanted: "LabelFormat | None" = None) -> Recognized:
    """The format that the labels in a data folder are in, and its reader. Without any labels, Pascal VOC.

    Args:
        files: of the data folder.
        wanted: the format, if it is given and not to be recognized.

    Raises:
        BoxcarError: 64 if there are labels of several formats; 65 if there are none of the wanted format, or what its
            `recognize` raises.
    """
    tried = FORMATS if wanted is None else {wanted: FORMATS[wanted]}
    found = [recognized for recognize in tried.values() if (recognized := recognize(files)) is not None]
    if len(found) > 1:
        places = " and ".join(f"{one.reader.title} ({shown(one.file)})" for one in found)
        what = f"The data has labels of {len(found)} formats: {places}."
        options = " or ".join(f"--format {one.reader.format}" for one in found)
        do = f"Choose one with {options}, or move the other files away."
        raise BoxcarError(ExitCode.USAGE, what, do)
    if found:
        return found[0]
    if wanted is not None:
        raise BoxcarError(ExitCode.DATA, f"No file has labels of the format {wanted}.", "Correct --format, or leave it out.")
    return Recognized(voc.VocReader(), "")
