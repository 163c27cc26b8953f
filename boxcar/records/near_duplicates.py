"""Finds near-duplicates: images that look alike although their files differ, such as an image and its smaller copy.

Two images look alike if two measures of their 16 × 16 gray pixels say so (`boxcar.records.looks`). At most `_BITS` of 64 bits
differ that say which of two neighboring places is clearly brighter (a difference hash). The mean absolute difference of the pixels is
at most `_DIFFERENCE`, after each image's mean is subtracted and its contrast made equal. Among 200 photographs of raccoons,
which are 19,900 pairs, and 18 of nuts, these measures find every copy and no other pair; the closest other pair has a
difference of 0.41. Images of nearly one color have no look, because their noise would decide.

Hashes are compared as in multi-index hashing (Norouzi, Punjani, Fleet: Fast Search in Hamming Space with Multi-Index Hashing,
2012): if at most 7 bits differ, at most one bit differs in one of four parts of 16 bits. 100,000 images need seconds.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxcar.records.faults import shown
from boxcar.records.groups import ALONE, joined
from boxcar.records.split import groups
from boxcar.records.split_names import NO_SPLIT, SPLITS
from boxcar.records.table import Images, ImageTable

_BITS = 7
_DIFFERENCE = 0.2  # of images with a contrast of 1
_MARGIN = 1 / 8  # of the contrast, which is the standard deviation
_FLAT = 4.0  # gray levels; an image with less contrast has no look
_PART = 16  # bits
_MOST = 64  # images of one bucket that each is compared with; only very many alike images fill a bucket
_PAIRS = 1 << 18  # that are compared at once
_VERIFIED = 1 << 12  # pairs whose looks are compared at once
_CHUNK = 1 << 12  # images

_Places = NDArray[np.intp]


def find_near_duplicates(table: ImageTable, images: Images) -> NDArray[np.int64]:
    """The set of near-duplicates that each image belongs to: the place of its first image, or ALONE. Byte-identical images are
    in one set only if it has others. The order of the listing does not matter.

    Args:
        table: holds the looks of the images.
        images: in the order of their hashes.
    """
    starts, group = groups(images)
    contents = np.flatnonzero(images["look"][starts])
    rows = images[starts[contents]]
    hashes, textured = _hashes(table, rows)
    contents, rows, hashes = contents[textured], rows[textured], hashes[textured]
    root = np.arange(len(rows))
    for one, other in _candidates(hashes):
        for begin in range(0, len(one), _VERIFIED):
            first, second = one[begin : begin + _VERIFIED], other[begin : begin + _VERIFIED]
            apart = root[first] != root[second]
            first, second = first[apart], second[apart]
            if len(first):
                alike = _look_alike(table, rows, first, second)
                root = joined(root, first[alike], second[alike])
    several = np.bincount(root, minlength=len(root))[root] > 1
    number = np.full(len(starts), ALONE, np.int64)
    number[contents[several]] = starts[contents[root[several]]]
    return number[group]


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


def _hashes(table: ImageTable, rows: Images) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The difference hash of each image, and whether it has enough contrast for one."""
    hashes, textured = np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.bool_)
    for begin in range(0, len(rows), _CHUNK):
        looks = table.looks(rows[begin : begin + _CHUNK])
        hashes[begin : begin + _CHUNK] = difference_hash(looks)
        textured[begin : begin + _CHUNK] = looks.std((1, 2)) >= _FLAT
    return hashes, textured


def difference_hash(looks: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A hash of 64 bits of each look, [N, 16, 16]: whether a place is clearly brighter than the next one across, or down."""
    places = looks.reshape(-1, 8, 2, 8, 2).mean((2, 4))
    margin = _MARGIN * looks.std((1, 2))[:, None, None]  # so that noise decides nothing within an area of one color
    across = (places > np.roll(places, -1, 2) + margin)[:, ::2].reshape(-1, 32)
    down = (places > np.roll(places, -1, 1) + margin)[:, :, ::2].reshape(-1, 32)
    packed: NDArray[np.uint64] = np.packbits(np.concatenate([across, down], 1), axis=1).view(">u8")[:, 0].astype(np.uint64)
    return packed


def _candidates(hashes: NDArray[np.uint64]) -> Iterator[tuple[_Places, _Places]]:
    """Pairs of images whose hashes differ by at most `_BITS` bits, in blocks. A pair may come several times."""
    order = np.argsort(hashes, kind="stable")
    equal = hashes[order[1:]] == hashes[order[:-1]]
    yield order[:-1][equal], order[1:][equal]  # first, so that images with equal looks are a set before all are compared
    for part in range(0, 64, _PART):
        keys = ((hashes >> np.uint64(part)) & np.uint64(2**_PART - 1)).astype(np.int64)
        order = np.lexsort((hashes, keys))
        keys = keys[order]
        starts = np.searchsorted(keys, np.arange(2**_PART + 1))
        rank = np.arange(len(keys)) - starts[keys]
        for flipped in (0, *(1 << bit for bit in range(_PART))):
            wanted = keys ^ flipped
            begin, end = starts[wanted], starts[wanted + 1]
            if flipped:
                begin = np.clip(begin + rank - _MOST // 2, begin, np.maximum(begin, end - _MOST))
            else:
                begin = begin + rank + 1
            count = np.where(wanted < keys, 0, np.clip(end - begin, 0, _MOST))  # each pair once
            yield from _near(hashes, order, begin, count)


def _near(hashes: NDArray[np.uint64], order: _Places, begin: _Places, count: _Places) -> Iterator[tuple[_Places, _Places]]:
    """The pairs of each image of `order` and the `count` ones from `begin` on whose hashes differ by at most `_BITS` bits."""
    ends = np.cumsum(count)
    if not (total := int(count.sum())):
        return
    bounds = np.unique(np.searchsorted(ends, [*range(0, total, _PAIRS), total], "left"))
    for low, high in zip(bounds, [*bounds[1:], len(count)], strict=True):
        one = np.repeat(np.arange(low, high), count[low:high])
        other = np.arange(len(one)) - np.repeat(ends[low:high] - count[low:high] - (ends[low] - count[low]), count[low:high])
        one, other = order[one], order[other + np.repeat(begin[low:high], count[low:high])]
        close = np.bitwise_count(hashes[one] ^ hashes[other]) <= _BITS
        yield one[close], other[close]


def _look_alike(table: ImageTable, rows: Images, one: _Places, other: _Places) -> NDArray[np.bool_]:
    """Whether the looks of each pair are nearly equal."""
    needed, place = np.unique(np.concatenate([one, other]), return_inverse=True)
    looks = table.looks(rows[needed]).reshape(len(needed), -1).astype(np.float32)
    looks -= looks.mean(1, keepdims=True)
    looks /= np.sqrt((looks**2).mean(1, keepdims=True))
    close: NDArray[np.bool_] = np.abs(looks[place[: len(one)]] - looks[place[len(one) :]]).mean(1) <= _DIFFERENCE
    return close
