"""Finds the images that a label file names, for formats with one file for many images.

The given path belongs to another computer or another folder as often as not. The image is, in this order:
1. the one at that path, seen from the label file's folder, then from one of the folders above it, the nearest first;
2. the only one with the longest end of that path, compared by whole names of folders; without regard to case if there is none;
3. of several, the only one that shares the most folders with the label file at the beginning of the path.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable

from boxcar.records.faults import FaultyError, shown
from boxcar.records.images import is_image


class ImageIndex:
    """The images of a data folder by their names.

    Args:
        names: of files, relative to the data folder; those that are no images are left out.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._images = {name for name in names if is_image(name)}
        self._by_base = sorted(self._images, key=_lower_base)  # a sixth of the memory of a dictionary of lists

    def find(self, given: str, source: str) -> str | None:
        """The image that a label file means.

        Args:
            given: the path in the label file, absolute or not, also with backslashes.
            source: the label file's name.

        Returns:
            The image's name; None if there is none.

        Raises:
            FaultyError: `same_stem` if it could be one of several.
        """
        parts = [part for part in given.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        if not parts:
            return None
        folder = source.split("/")[:-1]
        for depth in range(len(folder), -1, -1):
            name = "/".join([*folder[:depth], *parts])
            if name in self._images:
                return name
        alike = self._alike(parts[-1].lower())
        found = [name for name in alike if _base(name) == parts[-1]] or alike
        found = _most(found, lambda name: _common(reversed(name.split("/")), reversed(parts)))
        found = _most(found, lambda name: _common(name.split("/"), folder))
        if len(found) > 1:
            raise FaultyError("same_stem", f"{shown(given)} could be {shown(found[0])} or {shown(found[1])}")
        return found[0] if found else None

    def _alike(self, base: str) -> list[str]:
        """The images with a name without folders, which is in lower case, in order."""
        begin = bisect_left(self._by_base, base, key=_lower_base)
        end = bisect_right(self._by_base, base, begin, key=_lower_base)
        return sorted(self._by_base[begin:end])


def _most(names: list[str], share: Callable[[str], int]) -> list[str]:
    """The names with the highest share."""
    shares = [share(name) for name in names]
    return [name for name, count in zip(names, shares, strict=True) if count == max(shares)]


def _common(one: Iterable[str], other: Iterable[str]) -> int:
    """How many names at the beginning of two paths are equal."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _lower_base(name: str) -> str:
    return _base(name).lower()
