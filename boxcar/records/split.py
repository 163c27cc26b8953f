"""Assigns images to splits.

Folders named train, test, val, or validation define the split. Images in `train` and those in none of these folders
are one pool; a split that no folder gives is taken out of it by a seeded hash of the image's content: the hash is a
number in [0, 1), test has the lowest, validation the next, train the rest. An image therefore keeps its split when others
are added, and byte-identical images stay together.

A given held-out test split replaces the test split. Its images are found by content, in any folder. An image in a folder
named test that is not in its list is in no split, because it was not meant for training.
"""

import hashlib
from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.faults import Fault, shown
from boxcar.records.split_names import NO_SPLIT, SPLITS
from boxcar.records.table import Images, hash_at

_TRAIN, _VALIDATION, _TEST = range(3)
_Splits = NDArray[np.int8]


def position(sha256: bytes, seed: int) -> float:
    """The position of an image in [0, 1), which depends only on its content."""
    digest = hashlib.sha256(b"%d:" % seed + sha256.hex().encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def assign_splits(
    images: Images,
    names: Sequence[str],
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    held_out: Set[str] = frozenset(),
) -> list[Fault]:
    """Sets the column `split`, which holds the split that an image's folder names: an index into SPLITS, or NO_SPLIT.

    Args:
        images: in the order of their hashes. Those that are byte-identical to one in a split that is kept before theirs (test,
            then validation, then train) get NO_SPLIT.
        names: those that the column `image` points to.
        validation_fraction, test_fraction: shares of the pool, each used if no folder gives that split.
        seed: another seed gives another split.
        held_out: hexadecimal SHA-256 of the images that make up the test split; empty if there is no held-out test split.

    Returns:
        One fault for each image that is in no split.

    Raises:
        BoxcarError: 65 if there are too few distinct images for the splits, or no image of the held-out test split.
    """
    folders = images["split"].copy()
    starts, group = groups(images)
    contents = [hash_at(sha256) for sha256 in images["sha256"][starts]]  # one for each group of byte-identical images
    is_held_out = np.array([sha256.hex() in held_out for sha256 in contents], np.bool_)
    folders[is_held_out[group]] = _TEST
    ranks = np.maximum(folders, _TRAIN)  # the pool counts as train
    splits = np.maximum.reduceat(ranks, starts)
    kept = ranks == splits[group]
    given = set(folders[kept].tolist())
    faults = _duplicates(images, names, kept, splits, group)
    if held_out:
        if not is_held_out.any():
            raise BoxcarError(
                ExitCode.DATA,
                f"None of the {len(held_out)} images of the held-out test split is in the data.",
                "Restore them, or give the list that belongs to this data as --frozen-test.",
            )
        others = kept & (folders == _TEST) & ~is_held_out[group]
        reason = "it is in a folder named test, but not in the held-out test split"
        found = sorted(names[number] for number in images["image"][others])
        faults += [Fault(shown(name), "not_in_frozen_test", reason, "in no split") for name in found]
        kept &= ~others
    _divide_pool(splits, contents, given, {_TEST: test_fraction, _VALIDATION: validation_fraction}, seed)
    images["split"] = np.where(kept, splits[group], NO_SPLIT)
    return faults


def groups(images: Images) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the groups of byte-identical images begin, and each image's group; the images are in the order of their hashes."""
    first = np.ones(len(images), np.bool_)
    first[1:] = images["sha256"][1:] != images["sha256"][:-1]
    return np.flatnonzero(first), np.cumsum(first) - 1


def _duplicates(
    images: Images, names: Sequence[str], kept: NDArray[np.bool_], splits: _Splits, group: NDArray[np.intp]
) -> list[Fault]:
    """A fault for each image that is not kept."""
    faults = []
    for number in np.flatnonzero(~kept):
        same = images["image"][kept & (group == group[number])]
        split = SPLITS[splits[group[number]]]
        reason = f"it is byte-identical to {shown(names[same.min()])}, which is in the {split} split"
        file = shown(names[images["image"][number]])
        faults.append(Fault(file, "duplicate_across_splits", reason, f"kept in {split} only"))
    return sorted(faults)


def _divide_pool(splits: _Splits, contents: list[bytes], given: set[int], shares: dict[int, float], seed: int) -> None:
    """Takes the splits that no folder gives out of the groups whose split is train."""
    pool = np.flatnonzero(splits == _TRAIN)
    wanted = [split for split in (_TEST, _VALIDATION) if split not in given]
    if len(pool) < 1 + len(wanted):
        raise BoxcarError(
            ExitCode.DATA,
            f"There are too few distinct images: {len(pool)}, but train"
            f"{''.join(f' and {SPLITS[split]}' for split in wanted)} need one each.",
            "Add labeled images.",
        )
    positions = np.array([position(contents[number], seed) for number in pool])
    divided = np.full(len(pool), _TRAIN, np.int8)
    lowest = {_TEST: 0.0, _VALIDATION: shares[_TEST]}
    for split in wanted:
        divided[(positions >= lowest[split]) & (positions < lowest[split] + shares[split])] = split
    for split in (*wanted, _TRAIN):
        share = shares.get(split, 1 - sum(shares[other] for other in wanted))
        _fill(divided, positions, split, [*wanted, _TRAIN], round(share * len(pool)))
    splits[pool] = divided


def _fill(divided: _Splits, positions: NDArray[np.float64], split: int, pool: list[int], wish: int) -> None:
    """Gives a split that hashing has left empty the lowest hashes of the largest other split of the pool."""
    sizes = {name: int((divided == name).sum()) for name in pool}
    if sizes[split]:
        return
    donor = max(pool, key=lambda name: sizes[name])
    # The donor keeps at least one, and enough for the other splits that may be empty still.
    count = max(1, min(wish, sizes[donor] - sum(not size for size in sizes.values())))
    candidates = np.flatnonzero(divided == donor)
    divided[candidates[np.argsort(positions[candidates], kind="stable")[:count]]] = split
