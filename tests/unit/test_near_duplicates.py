"""Images that look alike: which are found, and that they are on one side of the split."""

import hashlib
import json
from collections.abc import Set
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled import data_set, label, pair, picture, save
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from boxcar.data.held_out_list import frozen_test_text
from boxcar.records import build_records
from boxcar.records.groups import ALONE, Groups, joined
from boxcar.records.images import inspect
from boxcar.records.near_duplicates import difference_hash, find_near_duplicates
from boxcar.records.split import assign_splits
from boxcar.records.split_names import NO_SPLIT, SPLITS
from boxcar.records.summary_text import summary_lines
from boxcar.records.table import COLUMNS, Images, ImageTable

Looks = NDArray[np.uint8]


class _Table(ImageTable):
    """A table that has looks only."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks

    def looks(self, rows: Images) -> Looks:
        return self._looks[rows["image"]]


def _images(count: int, order: list[int] | None = None) -> Images:
    """Rows of different content, whose places in the listing are given by `order`."""
    images = np.zeros(count, COLUMNS)
    images["look"], images["split"] = 256, NO_SPLIT
    images["image"] = range(count) if order is None else order
    images["sha256"] = [hashlib.sha256(b"%d" % number).digest() for number in range(count)]
    return images[np.argsort(images["sha256"], kind="stable")]


def _sets(images: Images, alike: NDArray[np.int64]) -> set[frozenset[bytes]]:
    """The sets as the hashes of their images."""
    return {frozenset(images["sha256"][alike == number].tolist()) for number in np.unique(alike[alike != ALONE])}


def _scene(seed: object) -> Image.Image:
    """An image without edges, as a photograph has few at 16 × 16 pixels."""
    return picture(seed, (4, 4)).resize((320, 240), Image.Resampling.BICUBIC)


def _random_looks(count: int) -> Looks:
    """Different scenes, a third of which come again with noise, up to so much that they are no near-duplicates."""
    random = np.random.default_rng(1)
    scenes = np.stack([np.asarray(_scene(number).resize((16, 16)).convert("L")) for number in range(count * 2 // 3)])
    scenes = scenes.astype(np.int64)
    strength = random.integers(1, 120, (count - len(scenes), 1, 1))
    noise = random.integers(-120, 121, (len(strength), 16, 16)) * strength // 120
    return np.clip(np.concatenate([scenes, scenes[: len(strength)] + noise]), 0, 255).astype(np.uint8)


def test_near_duplicates_are_found_as_by_comparing_all() -> None:
    looks = _random_looks(600)
    images = _images(len(looks))
    hashes = difference_hash(looks)
    level = looks.reshape(len(looks), -1) - looks.mean((1, 2))[:, None]
    level /= level.std(1, keepdims=True)
    near = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= 9
    near &= np.stack([np.abs(level - one).mean(1) <= 0.2 for one in level])
    contents = np.zeros(len(looks), images["sha256"].dtype)
    contents[images["image"]] = images["sha256"]
    root = joined(np.arange(len(looks)), *np.nonzero(near))
    expected = {frozenset(contents[root == number].tolist()) for number in np.unique(root) if (root == number).sum() > 1}
    assert len(expected) > 20
    assert _sets(images, find_near_duplicates(_Table(looks), images)) == expected


def test_the_order_of_the_listing_does_not_matter() -> None:
    looks = _random_looks(300)
    images = _images(len(looks))
    turned = _images(len(looks), list(range(len(looks)))[::-1])
    assert _sets(images, find_near_duplicates(_Table(looks), images)) == _sets(
        turned, find_near_duplicates(_Table(looks[::-1]), turned)
    )


def test_images_of_one_color_are_no_near_duplicates() -> None:
    random = np.random.default_rng(0)
    looks = random.integers(100, 104, (50, 16, 16)).astype(np.uint8)
    assert (find_near_duplicates(_Table(looks), _images(50)) == ALONE).all()


def test_very_many_equal_looks_are_one_set() -> None:
    looks = np.repeat(_random_looks(3)[:1], 20_000, 0)
    assert len(set(find_near_duplicates(_Table(looks), _images(len(looks))).tolist())) == 1


def test_sets_are_joined_along_chains() -> None:
    chain = np.arange(1000)
    assert (joined(chain, chain[1:], chain[:-1]) == 0).all()


def _copies(path: Path, scene: Image.Image) -> list[Path]:
    """What programs make of an image."""
    exif = scene.getexif()
    exif[0x0112] = 6
    large = scene.resize((1280, 960), Image.Resampling.LANCZOS)
    save(path / "large.jpg", large, quality=92)
    save(path / "poor.jpg", scene, quality=30)
    save(path / "small.png", scene.resize((120, 90), Image.Resampling.LANCZOS))
    save(path / "square.webp", scene.resize((200, 200), Image.Resampling.LANCZOS))
    save(path / "bright.jpg", ImageEnhance.Brightness(scene).enhance(1.2))
    save(path / "gray.jpg", scene.convert("L"))
    save(path / "alpha.png", scene.convert("RGBA"))
    save(path / "turned.jpg", scene.transpose(Image.Transpose.ROTATE_90), exif=exif)
    return sorted(path.iterdir())


def test_what_programs_make_of_an_image_looks_like_it(tmp_path: Path) -> None:
    copies = _copies(tmp_path, _scene(0))
    looks = [inspect(path.read_bytes(), full_decode=True).look_when(turn=True) for path in copies]
    others = [np.asarray(picture(number, (16, 16)).convert("L")) for number in range(20)]
    all_looks = np.concatenate([np.frombuffer(b"".join(looks), np.uint8).reshape(-1, 16, 16), np.stack(others)])
    images = _images(len(all_looks))
    alike = find_near_duplicates(_Table(all_looks), images)
    (found,) = _sets(images, alike)
    assert found == set(images["sha256"][images["image"] < len(copies)].tolist())


def _dataset(output: Path) -> dict[str, Any]:
    return dict(json.loads((output / "dataset.json").read_text()))


def _split_of(dataset: dict[str, Any], path: Path) -> str | None:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return next((name for name, split in dataset["splits"].items() if sha256 in split["images"]), None)


def _poor_copy(original: Path, path: Path) -> Path:
    with Image.open(original) as image:
        save(path, image, quality=60)
    label(path.with_suffix(".xml"))
    return path


@pytest.mark.parametrize("seed", [0, 1])
def test_near_duplicates_are_in_one_split_and_named(tmp_path: Path, seed: int) -> None:
    data = data_set(tmp_path / "data", 12)
    for number in range(6):
        _poor_copy(data / f"p{number}.jpg", data / "copies" / f"c{number}.jpg")
    build_records(str(data), str(tmp_path / "out"), seed=seed)
    dataset = _dataset(tmp_path / "out")
    said = dataset["near_duplicates"]
    assert (said["sets"], said["pictures"], said["in_several_splits"]) == (6, 12, 0)
    assert said["files"] == [[f"copies/c{number}.jpg", f"p{number}.jpg"] for number in range(6)]
    splits = [_split_of(dataset, data / file) for pair in said["files"] for file in pair]
    assert splits[::2] == splits[1::2]
    line = "Near-duplicates: 12 images in 6 sets, such as copies/c0.jpg and p0.jpg; each set is in one split."
    assert line in summary_lines(tmp_path / "out")[:2]


def test_with_group_by_none_near_duplicates_are_only_named(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 12)
    for number in range(12):
        _poor_copy(data / f"p{number}.jpg", data / "copies" / f"c{number}.jpg")
    build_records(str(data), str(tmp_path / "out"), group_by="none")
    dataset = _dataset(tmp_path / "out")
    divided = dataset["near_duplicates"]["in_several_splits"]
    assert divided > 0
    assert any(f"{divided} sets of near-duplicates are in several splits" in warning for warning in dataset["warnings"])
    assert f"each set is in one split, except {divided}." in " ".join(summary_lines(tmp_path / "out"))


def test_where_folders_give_the_splits_a_near_duplicate_stays_in_the_one_kept_first(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number, split in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 2):
        pair(data / split, f"p{number}")
    _poor_copy(data / "test" / "p6.jpg", data / "train" / "copy.jpg")
    build_records(str(data), str(tmp_path / "out"))
    dataset = _dataset(tmp_path / "out")
    (fault,) = dataset["faults"]
    assert (fault["file"], fault["kind"]) == ("train/copy.jpg", "near_duplicate_across_splits")
    assert "test/p6.jpg" in fault["reason"] and "test split" in fault["reason"]
    assert [split["pictures"] for split in dataset["splits"].values()] == [4, 2, 2]


def test_a_retraining_trains_on_no_near_duplicate_of_its_test_images(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 12)
    build_records(str(data), str(tmp_path / "first"))
    test = _dataset(tmp_path / "first")["splits"]["test"]["images"]
    (tmp_path / "list").write_text(frozen_test_text(dict.fromkeys(test, "a.jpg")))
    for path in sorted(data.glob("*.jpg")):
        _poor_copy(path, data / "new" / path.name)
    build_records(str(data), str(tmp_path / "second"), frozen_test=str(tmp_path / "list"))
    dataset = _dataset(tmp_path / "second")
    assert dataset["splits"]["test"]["images"] == test
    left_out = [fault["file"] for fault in dataset["faults"] if fault["kind"] == "near_duplicate_across_splits"]
    tested = [path for path in data.glob("*.jpg") if _split_of(dataset, path) == "test"]
    assert len(left_out) == len(test)
    assert sorted(left_out) == sorted(f"new/{path.name}" for path in tested)
    for path in data.glob("*.jpg"):
        assert _split_of(dataset, data / "new" / path.name) in (None, _split_of(dataset, path))


def _assigned(
    alike: list[int], given: list[int] | None = None, clips: list[int] | None = None, held_out: Set[str] = frozenset()
) -> list[int]:
    """The split of each row, which `alike` numbers by the first of its set."""
    images = _images(len(alike))
    if given is not None:
        images["split"] = given
    numbers = np.array([ALONE if one < 0 else one for one in alike])
    groups = None if clips is None else Groups("name", False, np.array(clips), str)
    assign_splits(images, [str(n) for n in range(len(alike))], 0.15, 0.15, 0, held_out, groups, numbers)
    return list(images["split"].tolist())


def test_without_near_duplicates_the_splits_stay_as_they_were() -> None:
    images = _images(200)
    assign_splits(images, [str(n) for n in range(200)], 0.15, 0.15, 0)
    before = images["split"].tolist()
    assert _assigned([-1] * 200) == before
    # A set moves no other image.
    after = _assigned([0] * 5 + [-1] * 195)
    assert len(set(after[:5])) == 1 and after[5:] == before[5:]


def test_near_duplicates_join_the_groups_that_they_are_in() -> None:
    # 20 clips of 5, in pairs: the last frame of one looks like the first of the other. A single image looks like clip 0.
    clips = [number // 5 for number in range(100)] + [ALONE] * 20
    alike = [-1] * 120
    for clip in range(0, 20, 2):
        alike[clip * 5 + 4] = alike[clip * 5 + 5] = clip * 5 + 4
    alike[100] = alike[0] = 0
    splits = _assigned(alike, clips=clips)
    by_clip = [set(splits[clip * 5 : clip * 5 + 5]) for clip in range(20)]
    assert all(len(split) == 1 for split in by_clip)
    assert all(by_clip[clip] == by_clip[clip + 1] for clip in range(0, 20, 2))
    assert splits[100] == splits[0]
    assert set(splits) == {0, 1, 2}


def test_a_camera_that_never_moves_is_divided_like_other_images() -> None:
    assert _assigned([0] * 60 + [-1] * 40) == _assigned([-1] * 100)
    assert set(_assigned([0] * 6)) == {0, 1, 2}  # one set cannot be three splits
    # Nor does it empty the splits that folders give.
    given = [0] * 70 + [1] * 15 + [2] * 15
    assert _assigned([0] * 100, given) == given


def test_unlike_images_of_given_splits_stay() -> None:
    given = [SPLITS.index(name) for name in ["train"] * 6 + ["validation"] * 2 + ["test"] * 2]
    alike = [-1] * 10
    alike[0] = alike[7] = 0
    assert _assigned(alike, given) == [NO_SPLIT, *given[1:]]
