"""Finished records that a run takes over: byte for byte equal, checked before, and never mixed with others."""

import shutil
from pathlib import Path

import pytest
from labelled import data_set

from boxcar.data.label_map import read_label_map, write_label_map
from boxcar.errors import BoxcarError
from boxcar.records import build_records, take_records
from boxcar.run.step import require_commit


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_they_are_the_same_to_the_last_byte_and_taken_once(tmp_path: Path) -> None:
    made = build_records(str(data_set(tmp_path / "data", 12)), str(tmp_path / "made")).folder
    taken = take_records(str(made), str(tmp_path / "run" / "records"))
    assert taken == require_commit(tmp_path / "run" / "records", "records")
    assert _content(taken.folder) == _content(made)
    before = {path: path.stat().st_mtime_ns for path in taken.folder.iterdir()}
    assert take_records(str(made), str(taken.folder)) == taken
    assert {path: path.stat().st_mtime_ns for path in taken.folder.iterdir()} == before
    shutil.rmtree(made)  # the run does not need them any more
    assert require_commit(taken.folder, "records") == taken


def test_they_travel_from_bucket_to_bucket(bucket_uri: str, tmp_path: Path) -> None:
    made = build_records(str(data_set(tmp_path / "data", 12)), f"{bucket_uri}/made")
    taken = take_records(f"{bucket_uri}/made", f"{bucket_uri}/taken/records")
    assert (taken.digest, taken.seconds) == (made.digest, made.seconds)
    assert take_records(f"{bucket_uri}/taken/records", str(tmp_path / "here")).files == made.files


def test_what_is_not_finished_or_was_changed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BoxcarError, match="holds no finished records step") as caught:
        take_records(str(tmp_path), str(tmp_path / "run"))
    assert caught.value.code == 64
    made = build_records(str(data_set(tmp_path / "data", 12)), str(tmp_path / "made")).folder
    (made / "dataset.json").write_text("{}")
    with pytest.raises(BoxcarError, match=r"not those that its step\.json lists") as caught:
        take_records(str(made), str(tmp_path / "run"))
    assert caught.value.code == 65
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_a_run_keeps_the_records_it_started_with(tmp_path: Path) -> None:
    first = build_records(str(data_set(tmp_path / "data", 12)), str(tmp_path / "first"))
    build_records(str(data_set(tmp_path / "more", 14)), str(tmp_path / "second"))
    take_records(str(first.folder), str(tmp_path / "run"))
    with pytest.raises(BoxcarError, match="are not those in") as caught:
        take_records(str(tmp_path / "second"), str(tmp_path / "run"))
    assert caught.value.code == 64
    assert require_commit(tmp_path / "run", "records").digest == first.digest
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(BoxcarError, match=r"notes\.txt"):
        take_records(str(first.folder), str(tmp_path / "other"))
    assert _content(tmp_path / "other") == {"notes.txt": b"mine"}


def test_a_label_map_and_a_test_split_that_are_asked_for_must_be_theirs(tmp_path: Path) -> None:
    made = build_records(str(data_set(tmp_path / "data", 12)), str(tmp_path / "made")).folder
    labels = read_label_map(made / "label_map.pbtxt")
    write_label_map(tmp_path / "same.pbtxt", labels)
    assert take_records(str(made), str(tmp_path / "run"), label_map=str(tmp_path / "same.pbtxt")).step == "records"
    write_label_map(tmp_path / "other.pbtxt", {1: "zebra"})
    for given in ({"label_map": "other.pbtxt"}, {"frozen_test": "list.txt"}):
        (tmp_path / "list.txt").write_text("0" * 64 + "  a.jpg\n")
        with pytest.raises(BoxcarError) as caught:
            take_records(str(made), str(tmp_path / "another"), **{name: str(tmp_path / file) for name, file in given.items()})
        assert caught.value.code == 64
        assert str(made) in caught.value.what
