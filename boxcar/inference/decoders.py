"""The decoder of each task. Another task's goes here."""

from boxcar.inference.decoding import BOXES
from boxcar.inference.heads import Decoder
from boxcar.inference.specification import Specification, TaskName

DECODERS: dict[TaskName, Decoder] = {"boxes": BOXES}


def find_decoder(specification: Specification) -> Decoder:
    """The decoder of a detector's raw answers."""
    return DECODERS[specification.task]
