"""The decoder of each task. Add decoders of new tasks here."""

from boxcar.inference.decoding import BOXES
from boxcar.inference.heads import Decoder
from boxcar.inference.specification import Specification, TaskName

DECODERS: dict[TaskName, Decoder] = {"boxes": BOXES}


def find_decoder(specification: Specification) -> Decoder:
    """The decoder of a detector's raw outputs."""
    return DECODERS[specification.task]
