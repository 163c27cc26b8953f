"""Groups of images that must be on one side of the split: the frames of a clip, a burst, the images of a camera or a day.

Neighboring frames show the same scene. If one is trained on and the next is scored, the score is too high.

A group is known by its name, not by the content of its images: the name stays the same when images are added, and so does the
split that its hash gives. Folders that name a split are no part of it.
"""

import hashlib
import os
import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.checked import NO_TIME
from boxcar.records.faults import shown
from boxcar.records.split_names import NO_SPLIT, SPLITS, named_split
from boxcar.records.table import Images

ALONE = -1  # in place of a group's number, for an image by itself
# Without a choice, names must look like frames of video. Most images are in clips, which are groups with this many consecutive
# numbers. There are this many groups, and none has more than this share of the images, because the splits would not have the
# sizes that they should have.
_CLIP = 8
_FEWEST = 10
_LARGEST = 0.2
_SECONDS = 60  # between images of a burst
_DIGITS = "0123456789"
_MOST_DIGITS = 18  # of a running number, so that it fits into 64 bits
_NO_KEY = 2**64 - 1

_KeyOf = Callable[[str], str | None]  # from an image's path to its group's name; None if it is by itself


@dataclass(frozen=True)
class Groups:
    """The groups of a data folder's images.

    Attributes:
        by: folder, name, time, or a regular expression.
        automatic: whether nobody asked for them.
        number: of each image's group, [images]; ALONE for an image by itself.
        name_of: the name of a group, by its number.
    """

    by: str
    automatic: bool
    number: NDArray[np.int64]
    name_of: Callable[[int], str]

    def key(self, number: int) -> bytes:
        """SHA-256 of a group's name."""
        return _digest(self.name_of(number))

    def straddling(self, splits: NDArray[np.int8]) -> list[int]:
        """The groups with images in several splits, in the order of their names.

        Args:
            splits: of each image, as in the column `split`.
        """
        inside = (self.number != ALONE) & (splits != NO_SPLIT)
        count = int(self.number.max(initial=ALONE)) + 1
        lowest, highest = np.full(count, len(SPLITS), np.int8), np.full(count, NO_SPLIT, np.int8)
        np.minimum.at(lowest, self.number[inside], splits[inside])
        np.maximum.at(highest, self.number[inside], splits[inside])
        found = [number for number in np.flatnonzero(lowest < highest).tolist() if self.name_of(number)]
        return sorted(found, key=self.name_of)

    def as_json(self, splits: NDArray[np.int8]) -> dict[str, Any]:
        """What `dataset.json` says about the groups: their number, their least and most images, and the images by themselves.

        Args:
            splits: as for `straddling`.
        """
        inside = splits != NO_SPLIT
        sizes = np.bincount(self.number[inside & (self.number != ALONE)])
        several = sizes[sizes > 1]
        return {
            "by": self.by,
            "automatic": self.automatic,
            "groups": len(several),
            "fewest_pictures": int(several.min(initial=several.max(initial=0))),
            "most_pictures": int(several.max(initial=0)),
            "single_pictures": int(inside.sum() - several.sum()),
            "in_several_splits": len(self.straddling(splits)),
        }

    def warnings(self, splits: NDArray[np.int8]) -> list[str]:
        """A sentence about the groups in several splits; none if there is no such group.

        Args:
            splits: as for `straddling`.
        """
        groups = self.straddling(splits)
        if not groups:
            return []
        found = np.unique(splits[(self.number == groups[0]) & (splits != NO_SPLIT)]).tolist()
        where = " and ".join(SPLITS[split] for split in found)
        more = f", and {len(groups) - 1} other groups are in several splits, too" if len(groups) > 1 else ""
        return [
            f"The images of the group {shown(self.name_of(groups[0]))} are in the splits {where}{more}. "
            "Images of one group are alike, so scores may be too high."
        ]


def find_groups(images: Images, names: Sequence[str], group_by: str | None, classes: Set[str]) -> Groups | None:
    """The groups of images; None if each is by itself.

    Args:
        images: their column `split` is what folders and lists give.
        names: those that the column `image` points to.
        group_by: folder, name, time, none, or a regular expression whose first group, or whole match, is the name of an image's
            group. By default, the names of files decide if they look like frames of video.
        classes: of the objects. Folders and files that are named after them are not taken for clips.

    Raises:
        BoxcarError: 64 if the regular expression matches no image; 65 if no image has a time.
    """
    if group_by == "none" or not len(images):
        return None
    if group_by == "time":
        return _bursts(images)
    places = images["image"]
    key_of = _key_function(group_by or "name")
    # Hashes of the groups' names, because 100,000 names would need 15 MB.
    hashes = np.fromiter((_short(key_of(names[place])) for place in places), np.uint64, len(places))
    distinct, first, number = np.unique(hashes, return_index=True, return_inverse=True)
    if distinct[-1] == _NO_KEY:  # it is the largest
        number[number == len(distinct) - 1] = ALONE
    groups = Groups(group_by or "name", group_by is None, number, lambda group: key_of(names[places[first[group]]]) or "")
    if group_by is None:
        return groups if _is_video(images, names, groups, classes) else None
    if number.max() == ALONE:
        what = f"--group-by {group_by} matches the path of no image, such as {shown(names[places[0]])}."
        do = "Choose folder, name, time, none, or a regular expression that matches images' paths."
        raise BoxcarError(ExitCode.USAGE, what, do)
    return groups


def joined(root: NDArray[np.intp], one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.intp]:
    """Joins sets by pairs of their members.

    Args:
        root: the least member of each member's set, [members].
        one, other: the pairs, [pairs] each.

    Returns:
        `root` after the sets of each pair have become one.
    """
    while len(one):
        low, high = np.minimum(root[one], root[other]), np.maximum(root[one], root[other])
        apart = low < high
        one, other = one[apart], other[apart]
        root = root.copy()
        np.minimum.at(root, high[apart], low[apart])
        while (root != root[root]).any():
            root = root[root]
    return root


def _bursts(images: Images) -> Groups:
    """Images that follow one another by at most a minute are a group, whose name is the earliest time.

    Only an earlier image, or one that joins two groups, changes a name.
    """
    taken = images["taken"]
    order = np.argsort(taken, kind="stable")
    order = order[np.searchsorted(taken[order], NO_TIME, "right") :]
    if not len(order):
        what = "No image says in its EXIF (DateTimeOriginal) when it was taken, so --group-by time finds no groups."
        raise BoxcarError(ExitCode.DATA, what, "Choose another --group-by.")
    begins = np.append(True, np.diff(taken[order]) > _SECONDS)
    number = np.full(len(images), ALONE, np.int64)
    number[order] = np.cumsum(begins) - 1
    firsts = taken[order[begins]]
    return Groups("time", False, number, lambda group: str(datetime(1970, 1, 1) + timedelta(seconds=int(firsts[group]))))


def _is_video(images: Images, names: Sequence[str], groups: Groups, classes: Set[str]) -> bool:
    """Whether the images' names look like frames of clips."""
    pool = images["split"] <= 0
    given = set(images["split"][~pool].tolist())
    # If folders give all splits, groups are only looked for to find those that are in several.
    considered = np.flatnonzero(pool if len(given) < len(SPLITS) - 1 else np.ones(len(images), np.bool_))
    number = groups.number[considered]
    sizes = np.bincount(number)
    if (sizes > 0).sum() < _FEWEST or sizes.max() > _LARGEST * len(considered):
        return False
    running = np.fromiter((_running_number(names[place]) for place in images["image"][considered]), np.int64, len(considered))
    order = np.lexsort((running, number))
    number, running = number[order], running[order]
    follows = (number[1:] == number[:-1]) & (running[1:] == running[:-1] + 1) & (running[:-1] >= 0)
    starts = np.append(0, np.flatnonzero(~follows) + 1)
    lengths = np.diff(np.append(starts, len(number)))
    clips = np.unique(number[starts[lengths >= _CLIP]]).tolist()
    if sizes[clips].sum() * 2 < len(considered):
        return False
    # Images that are sorted by class are no clips: a class would be missing in a split.
    spelled = {_letters(name) for name in classes}
    sorted_by_class = sum(any(_letters(part) in spelled for part in groups.name_of(clip).split("/")) for clip in clips)
    return sorted_by_class * 2 < len(clips)


def _letters(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def _digest(key: str) -> bytes:
    return hashlib.sha256(b"group:" + os.fsencode(key)).digest()


def _short(key: str | None) -> int:
    return _NO_KEY if key is None else int.from_bytes(_digest(key)[:8], "big") >> 1


def _key_function(group_by: str) -> _KeyOf:
    if group_by in ("folder", "name"):
        return _folder if group_by == "folder" else _series
    pattern = re.compile(group_by)

    def matched(path: str) -> str | None:
        match = pattern.search(path)
        return None if match is None else match[1 if pattern.groups else 0]

    return matched


def _folder(path: str) -> str:
    """The image's folder, without those that name a split."""
    return _without_splits(path.rpartition("/")[0])


@lru_cache(maxsize=1024)
def _without_splits(folder: str) -> str:
    return "/".join(part for part in folder.split("/") if named_split(part) == NO_SPLIT)


def _series(path: str) -> str:
    """The image's folder and its name without suffix and running number: `a/clip3_` of `a/clip3_0042.jpg`."""
    return f"{_folder(path)}/{_stem(path).rstrip(_DIGITS)}".removeprefix("/")


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _running_number(path: str) -> int:
    """The running number at the end of the image's name; -1 if there is none."""
    stem = _stem(path)
    digits = stem[len(stem.rstrip(_DIGITS)) :]
    return int(digits) if 0 < len(digits) <= _MOST_DIGITS else -1
