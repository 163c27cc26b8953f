"""The label formats, one file each. May import the other modules of `records`, but not the step."""

from boxcar.records.reader import AnnotationReader
from boxcar.records.readers.voc import VocReader

READER: AnnotationReader = VocReader()  # the only format so far

__all__ = ["READER"]
