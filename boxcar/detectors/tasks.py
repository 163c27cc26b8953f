"""The tasks by name. Add new tasks here."""

from typing import TYPE_CHECKING

from boxcar.inference.specification import Specification

if TYPE_CHECKING:
    from boxcar.detectors.task import Task


def find_task(specification: Specification) -> "Task":
    """The task of a detector. Loads TensorFlow."""
    from boxcar.detectors.box_detection import BOXES

    return {"boxes": BOXES}[specification.task]
