"""Assigns images to splits.

Folders named train, test, val, or validation define the split. Images in `train` and those in none of these folders
are one pool; a split that no folder gives is taken out of it by a seeded hash of the image's content: the hash is a
number in [0, 1), test has the lowest, validation the next, train the rest. An image therefore keeps its split when others
are added, and byte-identical images stay together.

The images of a group (`boxcar.records.groups`) go to one split, by the hash of the group's name. If groups in different splits
have byte-identical images, such as a black frame, those of the split that is kept first stay, and the others are in no split.
Joining such groups instead would move one when an image is added.

Near-duplicates (`boxcar.records.near_duplicates`) go to one split, too: by the lowest hash of their contents or, if one of them
is in a group, with it. Where folders, lists, or a held-out test split give the splits, the images of a set stay in the split
that is kept first, and the others are in no split. Frames of a camera that never moves all look alike. A set that is too large
for that is divided like other images.

A given held-out test split replaces the test split. Its images are found by content, in any folder. An image in a folder
named test that is not in its list is in no split, because it was not meant for training.
"""

import hashlib
from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.faults import Fault, shown
from boxcar.records.groups import ALONE, Groups, joined
from boxcar.records.split_names import NO_SPLIT, SPLITS
from boxcar.records.table import Images, hash_at

_TRAIN, _VALIDATION, _TEST = range(3)
# A set of near-duplicates may be larger than this share of the images if it has at most so many.
_LARGEST, _FEW = 0.2, 20
_MOST_LEFT_OUT = 0.5  # of a split, because they look like images of another
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
    clips: Groups | None = None,
    alike: NDArray[np.int64] | None = None,
) -> list[Fault]:
    """Sets the column `split`, which holds the split that an image's folder names: an index into SPLITS, or NO_SPLIT.

    Args:
        images: in the order of their hashes. Those that are byte-identical to one in a split that is kept before theirs (test,
            then validation, then train) get NO_SPLIT.
        names: those that the column `image` points to.
        validation_fraction, test_fraction: shares of the pool, each used if no folder gives that split.
        seed: another seed gives another split.
        held_out: hexadecimal SHA-256 of the images that make up the test split; empty if there is no held-out test split.
        clips: groups that are in one split each; None if every image is by itself. Groups that nobody asked for are ignored if
            there are too few.
        alike: the set of near-duplicates of each image, ALONE for an image by itself; None if there is none.

    Returns:
        One fault for each image that is in no split.

    Raises:
        BoxcarError: 65 if there are too few distinct images or groups for the splits, or no image of the held-out test split.
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
    faults = _duplicates(images, names, ~kept, kept, splits[group])
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
    sets = np.full(len(images), ALONE) if alike is None else alike
    copies = _across_splits(sets, kept, splits[group])
    faults += _look_alikes(images, names, sets, copies, kept, splits[group])
    kept &= ~copies
    splits[group[copies]] = NO_SPLIT
    wanted = [split for split in (_TEST, _VALIDATION) if split not in given]
    shares = {_TEST: test_fraction, _VALIDATION: validation_fraction}
    pool = np.flatnonzero(splits == _TRAIN)
    if len(pool) < 1 + len(wanted):
        raise _too_few("distinct images", len(pool), wanted, "Add labeled images.")
    divided = _divided_units(images, clips, sets, splits, group, wanted, shares, seed)
    np.maximum.at(splits, group[divided >= 0], divided[divided >= 0])
    copies = kept & (divided >= 0) & (divided != splits[group])
    kept &= ~copies
    faults += _duplicates(images, names, copies, kept, splits[group])
    left = set(splits[group][kept].tolist())
    if missing := [SPLITS[split] for split in (_TRAIN, *wanted) if split not in left]:
        what = f"All images of the {missing[0]} split are byte-identical to images of other groups in another split."
        raise BoxcarError(ExitCode.DATA, what, "Choose another --group-by, or remove the copies.")
    images["split"] = np.where(kept, splits[group], NO_SPLIT)
    return faults


def _divided_units(
    images: Images,
    clips: Groups | None,
    alike: NDArray[np.int64],
    splits: _Splits,
    group: NDArray[np.intp],
    wanted: list[int],
    shares: dict[int, float],
    seed: int,
) -> _Splits:
    """The split of each image of the pool, the same for all of a clip or a set of near-duplicates; NO_SPLIT for other images.

    Raises:
        BoxcarError: 65 if there are too few clips.
    """
    pool = np.flatnonzero(splits[group] == _TRAIN)
    number = np.full(len(pool), ALONE) if clips is None else clips.number[pool]
    # Images by themselves are numbered after the clips, the same number for byte-identical ones.
    singles = int(number.max()) + 1
    unit = np.where(number == ALONE, singles + group[pool], number)
    least = 1 + len(wanted)
    if (count := len(np.unique(unit))) < least and clips is not None:
        if clips.automatic:
            return _divided_units(images, None, alike, splits, group, wanted, shares, seed)
        do = "Choose another --group-by, or put the images into folders named train, validation, and test."
        raise _too_few("groups of images", count, wanted, do)
    together = _with_near_duplicates(unit, alike[pool])
    if len(np.unique(together)) >= least:
        unit = together
    units, place = np.unique(unit, return_inverse=True)
    contents, _ = groups(images)

    def key(unit: int) -> bytes:
        return hash_at(images["sha256"][contents[unit - singles]]) if clips is None or unit >= singles else clips.key(unit)

    divided = np.full(len(images), NO_SPLIT, np.int8)
    divided[pool] = _divided(np.array([position(key(unit), seed) for unit in units.tolist()]), wanted, shares)[place]
    return divided


def _with_near_duplicates(unit: NDArray[np.int64], alike: NDArray[np.int64]) -> NDArray[np.int64]:
    """The units after those that share a set of near-duplicates were joined, unless too many images would be in one.

    Args:
        unit: of each image, [images].
        alike: the set of each image, or ALONE.
    """
    inside = np.flatnonzero(alike != ALONE)
    numbers, place = np.unique(unit, return_inverse=True)
    _, first, of_set = np.unique(alike[inside], return_index=True, return_inverse=True)
    root = joined(np.arange(len(numbers)), place[inside[first[of_set]]], place[inside])
    sizes = np.bincount(root[place], minlength=len(numbers))
    too_large = sizes > max(_FEW, _LARGEST * len(unit))
    together: NDArray[np.int64] = np.where(too_large[root[place]], unit, numbers[root[place]])
    return together


def _across_splits(alike: NDArray[np.int64], kept: NDArray[np.bool_], splits: _Splits) -> NDArray[np.bool_]:
    """The images to leave out because near-duplicates are in a split that is kept before theirs.

    If these would be more than half of a split, it stays as it is.
    """
    inside = kept & (alike != ALONE)
    first = np.full(len(alike), NO_SPLIT, np.int8)
    np.maximum.at(first, alike[inside], splits[inside])  # a set is known by the place of an image
    copies: NDArray[np.bool_] = inside & (splits < first[alike])
    for split in (_TRAIN, _VALIDATION):
        of_split = copies & (splits == split)
        if of_split.sum() > _MOST_LEFT_OUT * (kept & (splits == split)).sum():
            copies &= ~of_split
    return copies


def groups(images: Images) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the groups of byte-identical images begin, and each image's group; the images are in the order of their hashes."""
    first = np.ones(len(images), np.bool_)
    first[1:] = images["sha256"][1:] != images["sha256"][:-1]
    return np.flatnonzero(first), np.cumsum(first) - 1


def _duplicates(
    images: Images, names: Sequence[str], left_out: NDArray[np.bool_], kept: NDArray[np.bool_], splits: _Splits
) -> list[Fault]:
    """A fault for each image that is left out, because a byte-identical one is kept in another split, that of `splits`."""
    faults = []
    for number in np.flatnonzero(left_out):
        same = images["image"][kept & (images["sha256"] == images["sha256"][number])]
        split = SPLITS[splits[number]]
        reason = f"it is byte-identical to {shown(names[same.min()])}, which is in the {split} split"
        file = shown(names[images["image"][number]])
        faults.append(Fault(file, "duplicate_across_splits", reason, f"kept in {split} only"))
    return sorted(faults)


def _look_alikes(
    images: Images,
    names: Sequence[str],
    alike: NDArray[np.int64],
    left_out: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    splits: _Splits,
) -> list[Fault]:
    """A fault for each image that is left out, because a near-duplicate is in a split that is kept before its own."""
    faults = []
    for number in np.flatnonzero(left_out):
        others = kept & (alike == alike[number])
        split = splits[others].max()
        other = names[images["image"][others & (splits == split)].min()]
        reason = f"it looks like {shown(other)}, which is in the {SPLITS[split]} split"
        faults.append(Fault(shown(names[images["image"][number]]), "near_duplicate_across_splits", reason))
    return sorted(faults)


def _too_few(what: str, count: int, wanted: list[int], do: str) -> BoxcarError:
    splits = "".join(f" and {SPLITS[split]}" for split in wanted)
    return BoxcarError(ExitCode.DATA, f"There are too few {what}: {count}, but train{splits} need one each.", do)


def _divided(positions: NDArray[np.float64], wanted: list[int], shares: dict[int, float]) -> _Splits:
    """The split of each unit of the pool: train, or one of those that are wanted."""
    divided = np.full(len(positions), _TRAIN, np.int8)
    lowest = {_TEST: 0.0, _VALIDATION: shares[_TEST]}
    for split in wanted:
        divided[(positions >= lowest[split]) & (positions < lowest[split] + shares[split])] = split
    for split in (*wanted, _TRAIN):
        share = shares.get(split, 1 - sum(shares[other] for other in wanted))
        _fill(divided, positions, split, [*wanted, _TRAIN], round(share * len(positions)))
    return divided


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
