"""The label formats, one file each: what `boxcar.records.reader` asks of a format. May import the files above it that check."""

from boxcar.records.reader import AnnotationReader
from boxcar.records.readers.voc import VocReader

READER: AnnotationReader = VocReader()  # the only format so far

__all__ = ["READER"]
