"""Finds near-duplicates: images that look alike although their files differ, such as an image and its smaller copy.

Two images look alike if two measures of their 16 × 16 gray pixels say so (`boxcar.records.looks`). At most `_BITS` of 64 bits
differ that say which of two neighboring places is clearly brighter (a difference hash). The mean absolute difference of the
pixels is at most `_DIFFERENCE`, after each image's mean is subtracted and its contrast made equal. Among 200 photographs of
raccoons, which are 19,900 pairs, and 18 of nuts, these measures find every copy and no other pair; the closest other pair has a
difference of 0.41. Images of nearly one color have no look, because their noise would decide.

Hashes are compared as in multi-index hashing (Norouzi, Punjani, Fleet: Fast Search in Hamming Space with Multi-Index Hashing,
2012): if at most 9 bits differ, at most two bits differ in one of four parts of 16 bits. 100,000 images need seconds.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from boxcar.records.groups import ALONE, joined
from boxcar.records.split import groups
from boxcar.records.table import Images, ImageTable

_BITS = 9
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
    flips = sorted({1 << one | 1 << other for one in range(_PART) for other in range(_PART)})
    for part in range(0, 64, _PART):
        keys = ((hashes >> np.uint64(part)) & np.uint64(2**_PART - 1)).astype(np.int64)
        order = np.lexsort((hashes, keys))
        keys = keys[order]
        starts = np.searchsorted(keys, np.arange(2**_PART + 1))
        sizes = np.diff(starts)
        rank = np.arange(len(keys)) - starts[keys]
        yield from _near(hashes, order, order, starts[keys] + rank + 1, np.minimum(sizes[keys] - rank - 1, _MOST))
        for flipped in flips:
            wanted = keys ^ flipped
            some = np.flatnonzero((wanted > keys) & (sizes[wanted] > 0))  # each pair once
            wanted = wanted[some]
            count = np.minimum(sizes[wanted], _MOST)
            begin = starts[wanted] + np.clip(rank[some] - _MOST // 2, 0, sizes[wanted] - count)
            yield from _near(hashes, order[some], order, begin, count)


def _near(
    hashes: NDArray[np.uint64], images: _Places, order: _Places, begin: _Places, count: _Places
) -> Iterator[tuple[_Places, _Places]]:
    """The pairs of each of `images` and `count` ones of `order`, from `begin` on, whose hashes differ by at most `_BITS`."""
    ends = np.cumsum(count)
    if not (total := int(count.sum())):
        return
    bounds = np.unique(np.searchsorted(ends, [*range(0, total, _PAIRS), total], "left"))
    for low, high in zip(bounds, [*bounds[1:], len(count)], strict=True):
        one = np.repeat(np.arange(low, high), count[low:high])
        other = np.arange(len(one)) - np.repeat(ends[low:high] - count[low:high] - (ends[low] - count[low]), count[low:high])
        one, other = images[one], order[other + np.repeat(begin[low:high], count[low:high])]
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
