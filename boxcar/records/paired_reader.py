"""What the readers of formats with one file per image share."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator

from boxcar.records.annotation import Annotation
from boxcar.records.faults import Fault, FaultyError
from boxcar.records.pairing import labeled, paired
from boxcar.records.reader import Item, Listing


class PairedReader(ABC):
    """Reads a format with one file per image; see `boxcar.records.reader.AnnotationReader`."""

    @abstractmethod
    def read(self, content: bytes) -> Annotation: ...

    def image_names(self, content: bytes) -> list[str]:
        try:
            image = self.read(content).image
        except FaultyError:
            return []  # the check of the file reports it
        return [image] if image else []

    def items(self, listing: Listing) -> Iterator[Item | Fault]:
        return paired(listing)

    def labeled_images(self, listing: Listing) -> set[str]:
        return labeled(paired(listing))

    def digest(self, content: bytes) -> bytes:
        return hashlib.sha256(content).digest()
