"""The split: by folder if folders name it, else by content, so that an image keeps its split."""

import hashlib
from collections.abc import Set

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.faults import Fault
from boxcar.records.split import assign_splits, position
from boxcar.records.split_names import NO_SPLIT, SPLITS, folder_split
from boxcar.records.table import COLUMNS, hash_at

Rows = list[tuple[int, str | None]]  # (content, folder)


def _assigned(
    rows: Rows, seed: int = 0, fractions: tuple[float, float] = (0.15, 0.15), frozen: Set[str] = frozenset()
) -> tuple[list[str | None], list[Fault]]:
    """The split of each row, or None."""
    images = np.zeros(len(rows), COLUMNS)
    for number, (content, folder) in enumerate(rows):
        images[number]["sha256"] = hashlib.sha256(b"%d" % content).digest()
        images[number]["split"] = NO_SPLIT if folder is None else SPLITS.index(folder)
        images[number]["image"] = number
    images = images[np.argsort(images["sha256"], kind="stable")]
    names = [f"{number:05d}.jpg" for number in range(len(rows))]
    faults = assign_splits(images, names, *fractions, seed, frozen)
    found = dict(zip(images["image"].tolist(), images["split"].tolist(), strict=True))
    return [None if found[number] == NO_SPLIT else SPLITS[found[number]] for number in range(len(rows))], faults


@settings(deadline=2000)
@given(st.sets(st.integers(0, 99999), min_size=3, max_size=60), st.integers(0, 5))
def test_every_split_gets_pictures_and_copies_stay_together(contents: set[int], seed: int) -> None:
    rows: Rows = [(content, None) for content in [*contents, *sorted(contents)[:5]]]
    splits, faults = _assigned(rows, seed)
    assert set(splits) == {"train", "validation", "test"}
    assert faults == []
    where: dict[int, str | None] = {}
    for (content, _), split in zip(rows, splits, strict=True):
        assert where.setdefault(content, split) == split


@settings(deadline=2000, max_examples=30)
@given(st.sets(st.integers(0, 99999), min_size=200, max_size=250), st.sets(st.integers(100000, 199999), max_size=60))
def test_adding_pictures_moves_none(contents: set[int], more: set[int]) -> None:
    before, _ = _assigned([(content, None) for content in sorted(contents)])
    after, _ = _assigned([(content, None) for content in [*sorted(contents), *more]])
    assert before == after[: len(before)]


def test_fractions_are_kept_and_a_seed_gives_another_split() -> None:
    rows: Rows = [(content, None) for content in range(4000)]
    splits, _ = _assigned(rows, fractions=(0.1, 0.25))
    assert abs(splits.count("validation") / 4000 - 0.1) < 0.02
    assert abs(splits.count("test") / 4000 - 0.25) < 0.03
    other, _ = _assigned(rows, seed=1, fractions=(0.1, 0.25))
    assert 0.2 < sum(a != b for a, b in zip(splits, other, strict=True)) / 4000 < 0.8


def test_folders_are_the_split_and_what_they_lack_comes_out_of_train() -> None:
    rows: Rows = [(n, "test") for n in range(10)] + [(n, "train") for n in range(10, 60)] + [(n, None) for n in range(60, 100)]
    splits, _ = _assigned(rows)
    assert set(splits[:10]) == {"test"}
    assert set(splits[10:]) == {"train", "validation"}
    assert 5 <= splits.count("validation") <= 25


def test_all_folders_given_leave_nothing_to_the_hash() -> None:
    rows: Rows = [(0, "train"), (1, None), (2, "validation"), (3, "test")]
    assert _assigned(rows)[0] == ["train", "train", "validation", "test"]


def test_a_split_that_hashing_leaves_empty_takes_the_lowest_hashes() -> None:
    tried = 0
    for start in range(0, 600, 6):
        rows: Rows = [(content, None) for content in range(start, start + 6)]
        positions = [position(hashlib.sha256(b"%d" % content).digest(), 0) for content, _ in rows]
        if min(positions) < 0.3:
            continue
        splits, _ = _assigned(rows)
        assert splits.count("test") == 1
        assert splits[positions.index(min(positions))] == "test"
        tried += 1
    assert tried > 5


@settings(deadline=2000)
@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from(["train", "test", "validation", None])), min_size=1, max_size=30))
def test_any_folders_give_disjoint_splits_or_65(rows: Rows) -> None:
    try:
        splits, faults = _assigned(rows)
    except BoxcarError as error:
        assert error.code == ExitCode.DATA
        return
    assert len(faults) == splits.count(None)
    contents = {
        name: {c for (c, _), s in zip(rows, splits, strict=True) if s == name} for name in ("train", "validation", "test")
    }
    assert not contents["train"] & contents["test"]
    assert not contents["train"] & contents["validation"]
    assert not contents["validation"] & contents["test"]
    assert all(contents.values())
    assert set().union(*contents.values()) == {content for content, _ in rows}
    for (_, folder), split in zip(rows, splits, strict=True):
        assert split is None or folder in (None, "train") or split == folder


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_different_pictures_are_65(count: int) -> None:
    with pytest.raises(BoxcarError) as caught:
        _assigned([(content % count, None) for content in range(10)])
    assert caught.value.code == ExitCode.DATA


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("a.jpg", None),
        ("train.jpg", None),
        ("Train/a.jpg", "train"),
        ("images/VAL/a.jpg", "validation"),
        ("validation/deep/a.jpg", "validation"),
        ("train/test/a.jpg", "test"),
        ("training/a.jpg", "train"),
        ("valid/images/a.jpg", "validation"),
        ("Eval/a.jpg", "validation"),
        ("dev/a.jpg", "validation"),
        ("val2017/a.jpg", "validation"),
        ("test_images/a.jpg", "test"),
        ("Testing/a.jpg", "test"),
        ("xmls-train/a.jpg", "train"),
        ("test-drive/a.jpg", None),
        ("train_and_val/a.jpg", None),
        ("contest/a.jpg", None),
        ("trains/a.jpg", None),
    ],
)
def test_folder_names(path: str, split: str | None) -> None:
    assert folder_split(path) == (NO_SPLIT if split is None else SPLITS.index(split))


def test_a_hash_that_ends_with_zeros_is_read_whole() -> None:
    images = np.zeros(2, COLUMNS)
    images["sha256"][0] = b"\1" * 30 + bytes(2)
    assert hash_at(images["sha256"][0]) == b"\1" * 30 + bytes(2)
    assert hash_at(images["sha256"][1]) == b""


def _hash(content: int) -> str:
    return hashlib.sha256(b"%d" % content).hexdigest()


def test_a_frozen_test_split_is_the_test_split_wherever_its_pictures_lie() -> None:
    rows: Rows = [(content, None) for content in range(40)] + [(40, "train"), (41, "validation"), (0, "train")]
    splits, faults = _assigned(rows, frozen={_hash(content) for content in (0, 40, 41)})
    assert [number for number, split in enumerate(splits) if split == "test"] == [0, 40, 41, 42]
    assert faults == []


def test_pictures_added_later_never_enter_a_frozen_test_split() -> None:
    before, _ = _assigned([(content, None) for content in range(200)])
    frozen = {_hash(content) for content in range(200) if before[content] == "test"}
    after, faults = _assigned([(content, None) for content in range(600)], frozen=frozen)
    assert after[:200] == before
    assert "test" not in after[200:] and faults == []


def test_what_lies_in_a_test_folder_and_was_not_frozen_is_in_no_split() -> None:
    rows: Rows = [(content, None) for content in range(30)] + [(30, "test"), (31, "test"), (31, "train")]
    splits, faults = _assigned(rows, frozen={_hash(3), _hash(30)})
    assert [number for number, split in enumerate(splits) if split == "test"] == [3, 30]
    assert splits[31] is None and splits[32] is None
    assert [fault.kind for fault in faults] == ["duplicate_across_splits", "not_in_frozen_test"]


def test_a_frozen_test_split_of_other_data_is_65() -> None:
    with pytest.raises(BoxcarError, match="None of the 2 images") as caught:
        _assigned([(content, None) for content in range(30)], frozen={_hash(90), _hash(91)})
    assert caught.value.code == ExitCode.DATA
