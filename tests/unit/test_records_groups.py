"""Groups of images stay on one side of the split: by folder, file name, time, or a regular expression, or by themselves."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import label, pair, picture, save

from boxcar.config.run_settings import make_configuration
from boxcar.errors import BoxcarError, ExitCode
from boxcar.records import build_records
from boxcar.records.groups import ALONE, Groups, find_groups
from boxcar.records.images import taken
from boxcar.records.split import assign_splits
from boxcar.records.split_names import NO_SPLIT, folder_split
from boxcar.records.summary_text import summary_lines
from boxcar.records.table import COLUMNS, Images
from boxcar.run.step import read_commit

Named = dict[str, bytes]  # the SHA-256 of images by their names


def content(name: str) -> bytes:
    """A hash that no other name has."""
    return hashlib.sha256(name.encode()).digest()


def rows_of(names: Named | list[str]) -> tuple[Images, list[str]]:
    hashes = names if isinstance(names, dict) else {name: content(name) for name in names}
    places = sorted(hashes)
    images = np.zeros(len(places), COLUMNS)
    for number, name in enumerate(places):
        images[number]["image"] = number
        images[number]["sha256"] = hashes[name]
        images[number]["split"] = folder_split(name)
    return images[np.argsort(images["sha256"], kind="stable")], places


def grouped(names: list[str], group_by: str | None, *classes: str) -> Groups | None:
    return find_groups(*rows_of(names), group_by, set(classes))


def groups_of(names: list[str], group_by: str) -> dict[str, str | None]:
    """The name of each image's group."""
    images, places = rows_of(names)
    found = find_groups(images, places, group_by, set())
    assert found is not None
    named = zip(images["image"].tolist(), found.number.tolist(), strict=True)
    return {places[image]: None if number == ALONE else found.name_of(number) for image, number in named}


def splits_of(names: Named | list[str], group_by: str | None, seed: int = 0) -> dict[str, int]:
    images, places = rows_of(names)
    assign_splits(images, places, 0.15, 0.15, seed, clips=find_groups(images, places, group_by, set()))
    return {places[image]: split for image, split in zip(images["image"].tolist(), images["split"].tolist(), strict=True)}


def frames(clips: int, each: int, folder: str = "") -> list[str]:
    return [f"{folder}clip{clip}_{frame:04d}.jpg" for clip in range(clips) for frame in range(each)]


def test_what_a_group_is() -> None:
    names = ["a/clip3_0042.jpg", "a/clip3_0043.png", "b/clip3_0042.jpg", "a/7.jpg", "train/a/clip3_1.jpg", "plain.jpg"]
    assert list(groups_of(names, "name").values()).count("a/clip3_") == 3
    assert groups_of(names, "name")["b/clip3_0042.jpg"] == "b/clip3_"
    assert groups_of(names, "name")["a/7.jpg"] == "a/"
    assert groups_of(names, "folder") == {name: {"b": "b", "p": ""}.get(name[0], "a") for name in names}
    assert groups_of(names, r"clip\d+_(\d+)")["b/clip3_0042.jpg"] == "0042"
    assert groups_of(names, r"clip\d+")["a/clip3_0042.jpg"] == "clip3"
    assert groups_of(names, r"clip\d+")["plain.jpg"] is None
    assert groups_of(names, r"clip3_(0042)?")["a/clip3_0043.png"] is None  # its group takes no part in the match
    assert grouped(names, "none") is None


@pytest.mark.parametrize(
    "names",
    [
        [f"raccoon-{number}.jpg" for number in range(1, 201)],
        [f"shapes-{number:04d}.jpg" for number in range(200)],
        [f"DCIM/IMG_{number:04d}.jpg" for number in range(200)],
        [f"{number:06d}.jpg" for number in range(0, 2000, 3)],
        [f"200{year}_{number:06d}.jpg" for year in range(9) for number in range(20)],
        [f"{number * 7919 % 10007:x}.jpg" for number in range(500)],
        [f"clip{clip}_{frame * 5}.jpg" for clip in range(20) for frame in range(20)],  # not consecutive
        [*frames(1, 200), *(f"holiday{'x' * number}.jpg" for number in range(20))],  # one clip has nearly everything
        [*frames(12, 8), *(f"{number * 7919 % 10007:x}.jpg" for number in range(500))],  # most are no frames
        frames(9, 40),  # too few
        frames(30, 7),  # too short
    ],
    ids=lambda names: names[0],
)
def test_names_that_are_merely_numbered_are_no_groups(names: list[str]) -> None:
    assert grouped(names, None) is None


def test_names_that_look_like_frames_of_video_are_groups() -> None:
    for names in (frames(12, 10), [f"cam{clip}/{frame:04d}.png" for clip in range(12) for frame in range(10)]):
        found = grouped(names, None)
        assert found is not None and (found.by, found.automatic) == ("name", True)
        assert len(np.unique(found.number)) == 12


def test_folders_of_classes_are_no_clips() -> None:
    classes = [f"breed {'abcdefghijkl'[number]}" for number in range(12)]
    names = [f"{name.replace(' ', '_')}/{frame}.jpg" for name in classes for frame in range(10)]
    assert grouped(names, None, *classes) is None
    assert grouped(names, None, "dog") is not None


@pytest.mark.parametrize("group_by", ["name", "folder", r"clip\d+", None])
def test_a_group_is_in_one_split(group_by: str | None) -> None:
    names = [name.replace("_", "/") if group_by == "folder" else name for name in frames(40, 10)]
    splits = splits_of(names, group_by)
    assert set(splits.values()) == {0, 1, 2}
    for clip in range(40):
        assert len({split for name, split in splits.items() if name.startswith((f"clip{clip}_", f"clip{clip}/"))}) == 1
    assert splits_of(names, group_by, seed=1) != splits
    assert len({split for name, split in splits_of(names, "none").items() if name.startswith("clip3")}) > 1


@settings(deadline=2000, max_examples=30)
@given(st.sets(st.tuples(st.integers(0, 99), st.integers(0, 20)), max_size=60), st.sampled_from(["name", "clip[0-9]+"]))
def test_adding_images_moves_no_group(more: set[tuple[int, int]], group_by: str) -> None:
    names = frames(60, 5)
    before = splits_of(names, group_by)
    added = {f"clip{clip}_{frame:04d}.jpg" for clip, frame in more}
    after = splits_of(sorted({*names, *added, "plain.jpg"}), group_by)
    assert before == {name: after[name] for name in names}


def test_copies_in_clips_of_several_splits_stay_in_one() -> None:
    names = {name: content("black") if name.endswith("_0000.jpg") else content(name) for name in frames(40, 5)}
    splits = splits_of(names, "name")
    whole = splits_of(frames(40, 5), "name")
    # A black frame chains no clips: all other frames are where they would be without it.
    assert all(splits[name] == whole[name] for name in names if not name.endswith("_0000.jpg"))
    assert {splits[name] for name in names if name.endswith("_0000.jpg")} == {NO_SPLIT, 2}


def test_two_names_of_one_clip_are_no_two_splits() -> None:
    names = {
        name: content(name.replace("copy", "clip"))
        for name in [*frames(40, 5), *(n.replace("clip", "copy") for n in frames(40, 5))]
    }
    splits = splits_of(names, "name")
    for name in frames(40, 5):
        both = {splits[name], splits[name.replace("clip", "copy")]} - {NO_SPLIT}
        assert len(both) == 1


def test_images_that_folders_or_lists_split_are_left_where_they_are() -> None:
    names = [f"{('train', 'val', 'test')[number % 3]}/{name}" for number, name in enumerate(frames(12, 12))]
    images, places = rows_of(names)
    found = find_groups(images, places, None, set())
    assert found is not None
    before = images["split"].copy()
    assert assign_splits(images, places, 0.15, 0.15, 0, clips=found) == []
    assert (images["split"] == before).all()
    assert len(found.straddling(images["split"])) == 12
    (sentence,) = found.warnings(images["split"])
    assert "are in the splits train and validation and test, and 11 other groups" in sentence and "clip" in sentence
    del names[1::3]  # without a folder val, it is taken out of train by clips
    splits = splits_of(names, None)
    assert {split for name, split in splits.items() if name.startswith("test/")} == {2}
    assert {split for name, split in splits.items() if name.startswith("train/")} == {0, 1}


@pytest.mark.parametrize(("group_by", "names"), [("folder", frames(9, 9)), ("name", frames(2, 9)), (r"clip[01]", frames(2, 9))])
def test_too_few_groups_are_refused(group_by: str, names: list[str]) -> None:
    with pytest.raises(
        BoxcarError, match=r"There are too few groups of images: [12], but train and test and validation"
    ) as caught:
        splits_of(names, group_by)
    assert caught.value.code == ExitCode.DATA


def photograph(path: Path, time: str | None) -> None:
    exif = picture(path).getexif()
    if time is not None:
        exif.get_ifd(0x8769)[0x9003] = time
    save(path, picture(path), exif=exif.tobytes())
    label(path.with_suffix(".xml"))


def test_photographs_of_one_minute_are_one_group(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    for burst in range(5):
        for number in range(6):  # in all, they take longer than a minute
            photograph(data / f"cam{number % 2}" / f"b{burst}{number}.jpg", f"2024:05:0{burst + 1} 23:59:{number * 11:02d}")
        photograph(data / f"late{burst}.png", f"2024:05:0{burst + 2} 00:00:55")
        photograph(data / f"later{burst}.jpg", f"2024:05:0{burst + 2} 00:01:56")
    for number, odd in enumerate([None, "0000:00:00 00:00:00", "yesterday", "2024:13:01 00:00:00"]):
        photograph(data / f"odd{number}.jpg", odd)
    build_records(str(data), str(out), group_by="time")
    said = "Groups: 5 series of 7 images and 9 single images, by the time at which they were taken; each is in one split."
    assert said in summary_lines(out)[:2]
    splits = {sha256: name for name, split in dataset(out)["splits"].items() for sha256 in split["images"]}
    of_names = {path.stem: splits[hashlib.sha256(path.read_bytes()).hexdigest()] for path in data.rglob("*.[jp][pn]g")}
    assert len(of_names) == 44 and set(of_names.values()) == {"train", "validation", "test"}
    for burst in range(5):
        assert len({of_names[f"late{burst}"], *(of_names[f"b{burst}{number}"] for number in range(6))}) == 1


def test_images_without_times_cannot_be_grouped_by_them(tmp_path: Path) -> None:
    clips(tmp_path / "data", 3, 3)
    with pytest.raises(BoxcarError, match="No image says in its EXIF") as caught:
        build_records(str(tmp_path / "data"), str(tmp_path / "out"), group_by="time")
    assert caught.value.code == ExitCode.DATA


@pytest.mark.filterwarnings("ignore:Corrupt EXIF|Tag data larger|Truncated File Read:UserWarning")
def test_a_damaged_exif_gives_no_time(tmp_path: Path) -> None:
    photograph(tmp_path / "a.jpg", "2024:05:01 12:00:00")
    whole = (tmp_path / "a.jpg").read_bytes()
    assert taken(whole) == 1714564800
    at = whole.index(b"Exif\0\0")
    for place in range(at, whole.index(b"2024:05") + 19):
        for value in (0, 255):
            damaged = bytearray(whole)
            damaged[place] = value
            found = taken(bytes(damaged))
            assert found is None or isinstance(found, int)


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(BoxcarError, match="names matches the path of no image") as caught:
        grouped(frames(9, 9), "names")
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize("pattern", ["(", "[", "*", "(?P<a", "a{1,99999999999999999999}"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(BoxcarError, match="group_by cannot be") as caught:
        make_configuration(None, {"group_by": pattern})
    assert caught.value.code == ExitCode.USAGE


def clips(folder: Path, count: int, each: int) -> Path:
    for name in frames(count, each):
        pair(folder, name.removesuffix(".jpg"))
    return folder


def dataset(output: Path) -> dict[str, Any]:
    return dict(json.loads((output / "dataset.json").read_text()))


def test_the_records_say_how_images_were_grouped(tmp_path: Path) -> None:
    data, out = clips(tmp_path / "data", 10, 8), tmp_path / "out"
    build_records(str(data), str(out))
    first = "Groups: 10 clips of 8 images, by their file names, which look like frames of video; each is in one split."
    assert first in summary_lines(out)[:2]
    committed = read_commit(out, "records")
    assert committed is not None and "group_by" not in committed.parameters
    assert all(split["pictures"] % 8 == 0 for split in dataset(out)["splits"].values())
    automatic = dataset(out)["splits"]
    build_records(str(data), str(out), group_by="name")
    assert "Groups: 10 clips of 8 images, by their file names; each is in one split." in summary_lines(out)[:2]
    assert dataset(out)["splits"] == automatic
    committed = read_commit(out, "records")
    assert committed is not None and committed.parameters["group_by"] == "name"
    save(data / "plain.jpg", picture("plain"))
    label(data / "plain.xml")
    build_records(str(data), str(out), group_by=r"clip\d")
    assert r"Groups: 10 groups of 8 images and 1 single image, by clip\d; each is in one split." in summary_lines(out)[:2]
    build_records(str(data), str(out), group_by="none")
    assert "groups" not in dataset(out) and not any("Groups" in line for line in summary_lines(out))


def test_groups_in_several_splits_are_a_warning(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        clips(tmp_path / "data" / split / split, 1, 1)
        for frame in range(3):
            pair(tmp_path / "data" / split, f"walk_{split}{frame}")
            pair(tmp_path / "data" / split, f"street_{['train', 'val', 'test'].index(split) * 10 + frame}")
    build_records(str(tmp_path / "data"), str(tmp_path / "out"), group_by="name")
    (warning,) = [sentence for sentence in dataset(tmp_path / "out")["warnings"] if "group" in sentence]
    assert warning.startswith("The images of the group street_ are in the splits train and validation and test")
    assert any("except" in line for line in summary_lines(tmp_path / "out")[:2])


def test_a_held_out_test_split_goes_before_the_groups_and_its_clips_are_a_warning() -> None:
    images, places = rows_of(frames(40, 5))
    found = find_groups(images, places, "name", set())
    assert found is not None
    held_out = {content(f"clip{clip}_0000.jpg").hex() for clip in (3, 4)}
    assign_splits(images, places, 0.15, 0.15, 0, held_out, found)
    test = {places[image] for image in images["image"][images["split"] == 2]}
    assert test == {"clip3_0000.jpg", "clip4_0000.jpg"}
    assert [found.name_of(number) for number in found.straddling(images["split"])] == ["clip3_", "clip4_"]


def test_automatic_groups_that_are_too_few_are_not_used() -> None:
    images, places = rows_of(frames(12, 8))
    found = find_groups(images, places, None, set())
    # All but the frames of one clip are held out.
    held_out = {content(name).hex() for name in places if not name.startswith("clip5_")}
    assign_splits(images, places, 0.15, 0.15, 0, held_out, found)
    assert set(images["split"].tolist()) == {0, 1, 2}
