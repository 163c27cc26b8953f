"""Which pictures of a folder are labelled, told from its listing: XML files find theirs as `records.layout` says.

What the records step takes for a fault is none here: that step tells of it, and here it decides no more than a count.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import lru_cache
from pathlib import PurePosixPath

from boxcar.records.layout import PICTURE_FOLDERS, XML_FOLDERS
from boxcar.records.pictures import SUFFIXES


def labelled_pictures(files: Mapping[str, str]) -> set[str]:
    """The names of the pictures that an XML is about.

    Args:
        files: names of all pictures and XML files below a folder; of an XML, with the picture's name that is written in it,
            of others, with an empty text.
    """
    paths = [PurePosixPath(name) for name in sorted(files)]
    pictures = _Pictures([path for path in paths if path.suffix.lower() in SUFFIXES])
    xmls = [path for path in paths if path.suffix.lower() == ".xml"]
    alike = Counter(path.with_suffix("") for path in xmls)
    # A picture of the same name beside it is an XML's own before any other XML may ask for it.
    plain = {path for path in xmls if alike[path.with_suffix("")] == 1 and len(pictures.of(path.parent, path.stem)) == 1}
    for path in plain:
        pictures.take(pictures.of(path.parent, path.stem)[0])
    others = [path for path in xmls if path not in plain]
    unpaired = [path for path in others if not _found_by_stem(pictures, path, files[str(path)])]
    for path in unpaired:
        _find_by_filename(pictures, path, files[str(path)])
    return pictures.taken


class _Pictures:
    """The pictures by folder and stem, and which of them are an XML's already."""

    def __init__(self, paths: list[PurePosixPath]) -> None:
        self.taken: set[str] = set()
        self._names: dict[tuple[PurePosixPath, str], list[PurePosixPath]] = defaultdict(list)
        for path in paths:
            self._names[path.parent, path.stem].append(path)
        self._folders = {folder for path in paths for folder in path.parents}

    def of(self, folder: PurePosixPath, stem: str) -> list[PurePosixPath]:
        return self._names.get((folder, stem), [])

    def take(self, path: PurePosixPath) -> bool:
        """Makes it an XML's own; False where it is one's already."""
        free = str(path) not in self.taken
        self.taken.add(str(path))
        return free

    @lru_cache(maxsize=64)  # noqa: B019 - it lives as long as one look at a listing
    def places(self, folder: PurePosixPath) -> list[PurePosixPath]:
        """The folders in which the picture of an XML in `folder` is looked for, the likeliest first."""
        places = [folder]
        for index in reversed(range(len(folder.parts))):
            if os.fsencode(folder.parts[index].lower()) in XML_FOLDERS:
                before, after = PurePosixPath(*folder.parts[:index]), folder.parts[index + 1 :]
                for sibling in sorted(other for other in self._folders if other.parent == before and other != before):
                    if os.fsencode(sibling.name.lower()) in PICTURE_FOLDERS:
                        places += [sibling.joinpath(*after), sibling]
                places.append(before)
        return places


def _found_by_stem(pictures: _Pictures, xml: PurePosixPath, filename: str) -> bool:
    for place in pictures.places(xml.parent):
        found = pictures.of(place, xml.stem)
        # Two pictures of one name: the XML may say which one it means.
        meant = next((path for path in found if path.name == filename), found[0] if found else None)
        if meant is not None and pictures.take(meant):
            return True
    return False


def _find_by_filename(pictures: _Pictures, xml: PurePosixPath, filename: str) -> None:
    """Takes the first picture that the XML names, with or without suffix."""
    for place in pictures.places(xml.parent) if filename else ():
        same = pictures.of(place, PurePosixPath(filename).stem)
        exact = [path for path in same if path.name == filename]
        found = exact or pictures.of(place, filename) or same
        if found:
            pictures.take(found[0])
            return
