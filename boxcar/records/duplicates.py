"""What is said about byte-identical images and near-duplicates: in `dataset.json`, in warnings, and on the health page."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from boxcar.records.faults import shown
from boxcar.records.groups import ALONE
from boxcar.records.split import groups
from boxcar.records.split_names import NO_SPLIT, SPLITS
from boxcar.records.table import Images

DRAWN = 6  # sets on the health page


class Twins(NamedTuple):
    """Two images of a set."""

    what: str  # the set in a few words
    number: int  # of images in it
    rows: Images  # [2]


class Duplicates(NamedTuple):
    """The sets of a data folder, with `DRAWN` of them, as many of each kind as possible."""

    identical: int  # sets of byte-identical images
    near: int  # sets of near-duplicates
    drawn: Sequence[Twins]


def find_duplicates(images: Images, alike: NDArray[np.int64]) -> Duplicates:
    """Finds the sets to draw.

    Args:
        images: all that are sound, in the order of their hashes, then digests; their column `split` is final.
        alike: as `find_near_duplicates` returns it.
    """
    starts, group = groups(images)
    copies = np.bincount(group, minlength=len(starts))
    several = starts[copies > 1]
    different = _labeled_differently(images)
    identical = several[~np.isin(group[several], group[different])]
    near = np.unique(alike[alike != ALONE])
    kinds = [
        [
            Twins("Byte-identical, but labeled differently", int(copies[group[at]]), images[at : at + 2])
            for at in different[:DRAWN]
        ],
        [Twins("Near-duplicates", int((alike == at).sum()), images[_two_contents(images, alike, at)]) for at in near[:DRAWN]],
        [Twins("Byte-identical", int(copies[group[at]]), images[at : at + 2]) for at in identical[:DRAWN]],
    ]
    # As many of each kind, if there are enough.
    turns = [one for turn in zip_longest(*kinds) for one in turn if one is not None]
    drawn = sorted(turns[:DRAWN], key=lambda one: [kind[0].what for kind in kinds if kind].index(one.what))
    return Duplicates(len(several), len(near), drawn)


def different_labels_warning(images: Images, names: Sequence[str]) -> list[str]:
    """A sentence about byte-identical images that are labeled differently; none if there are none.

    Args:
        images: as for `find_duplicates`.
        names: those that the columns `image` and `source` point to.
    """
    different = _labeled_differently(images)
    if not len(different):
        return []
    one, other = (shown(names[images["image"][at]]) for at in (different[0], different[0] + 1))
    more = f", and {len(different) - 1} other images have such copies, too" if len(different) > 1 else ""
    return [f"{one} and {other} are byte-identical, but their boxes differ{more}. One of the labels may be wrong."]


def near_duplicates_json(images: Images, names: Sequence[str], alike: NDArray[np.int64]) -> dict[str, Any] | None:
    """What `dataset.json` says about near-duplicates: how many sets and images there are, and the files of each set; None if
    there are none.

    Args:
        images: all that are sound; their column `split` is final.
        names: those that the column `image` points to.
        alike: as `find_near_duplicates` returns it.
    """
    inside = np.flatnonzero(alike != ALONE)
    if not len(inside):
        return None
    order = inside[np.lexsort((images["image"][inside], alike[inside]))]
    begins = np.flatnonzero(np.diff(alike[order], prepend=ALONE))
    sets = [[shown(names[place]) for place in part] for part in np.split(images["image"][order], begins[1:])]
    return {
        "sets": len(sets),
        "pictures": len(order),
        "in_several_splits": len(_divided(images, alike)),
        "files": sorted(sets),
    }


def near_duplicates_warning(images: Images, names: Sequence[str], alike: NDArray[np.int64]) -> list[str]:
    """A sentence about the sets in several splits; none if there is no such set.

    Args:
        images, names, alike: as for `near_duplicates_json`.
    """
    divided = _divided(images, alike)
    if not len(divided):
        return []
    inside = np.flatnonzero((alike == divided[0]) & (images["split"] != NO_SPLIT))
    one = inside[0]
    other = inside[images["split"][inside] != images["split"][one]][0]
    some = " and ".join(f"{shown(names[images['image'][at]])} ({SPLITS[images['split'][at]]})" for at in (one, other))
    sets = "1 set of near-duplicates is" if len(divided) == 1 else f"{len(divided)} sets of near-duplicates are"
    return [f"{sets} in several splits, such as {some}. Such images are alike, so scores may be too high."]


def _divided(images: Images, alike: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sets with images in several splits."""
    inside = (alike != ALONE) & (images["split"] != NO_SPLIT)
    found = np.unique(np.stack([alike[inside], images["split"][inside].astype(np.int64)], 1), axis=0)[:, 0]
    return np.unique(found[1:][found[1:] == found[:-1]])


def _labeled_differently(images: Images) -> NDArray[np.intp]:
    """The places of images whose follower is byte-identical but has other boxes, one for each content."""
    same = images["sha256"][1:] == images["sha256"][:-1]
    found = np.flatnonzero(same & (images["digest"][1:] != images["digest"][:-1]))
    _, first = np.unique(images["sha256"][found], return_index=True)
    places: NDArray[np.intp] = found[first]
    return places


def _two_contents(images: Images, alike: NDArray[np.int64], number: np.int64) -> list[int]:
    """The places of two images of a set whose bytes differ."""
    inside = np.flatnonzero(alike == number)
    other = inside[images["sha256"][inside] != images["sha256"][inside[0]]][0]
    return [int(inside[0]), int(other)]
