"""The list of a held-out test split, and records that are made with one."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from labelled import data_set, pair

from boxcar.data.held_out_list import frozen_test_digest, frozen_test_text, read_frozen_test
from boxcar.errors import BoxcarError, ExitCode
from boxcar.records import build_records


def test_a_list_reads_as_it_was_written(tmp_path: Path) -> None:
    pictures = {hashlib.sha256(b"%d" % n).hexdigest(): f"some where/ä\n{n}.jpg" for n in range(3)}
    (tmp_path / "list").write_text(frozen_test_text(pictures))
    assert read_frozen_test(tmp_path / "list") == set(pictures)
    assert (tmp_path / "list").read_text().count("\n") == 3


def test_a_list_of_sha256sum_is_one(tmp_path: Path) -> None:
    names = ["a.jpg", "b\\c.jpg"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    listed = subprocess.run(["sha256sum", *names], cwd=tmp_path, capture_output=True, check=True).stdout
    (tmp_path / "list").write_bytes(listed)
    assert read_frozen_test(tmp_path / "list") == {hashlib.sha256(name.encode()).hexdigest() for name in names}


@pytest.mark.parametrize(
    ("content", "code", "reason"),
    [
        (None, 64, "no held-out test split list"),
        ("", 65, "lists no image"),
        ("0" * 64 + "  a.jpg\nb.jpg\n", 65, "line 2 does not start"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, content: str | None, code: int, reason: str) -> None:
    if content is not None:
        (tmp_path / "list").write_text(content)
    with pytest.raises(BoxcarError, match=reason) as caught:
        read_frozen_test(tmp_path / "list")
    assert caught.value.code == code


def test_records_keep_a_frozen_test_split_as_pictures_are_added(tmp_path: Path) -> None:
    data, frozen = data_set(tmp_path / "data", 30), tmp_path / "frozen-test.txt"
    build_records(str(data), str(tmp_path / "first"))
    test = json.loads((tmp_path / "first" / "dataset.json").read_text())["splits"]["test"]["images"]
    gone = hashlib.sha256(b"gone").hexdigest()
    frozen.write_text(frozen_test_text(dict.fromkeys([*test, gone], "a.jpg")))
    for number in range(30):
        pair(data / "new", f"n{number}")
    pair(data / "test", "later")

    made = build_records(str(data), str(tmp_path / "second"), frozen_test=str(frozen))
    dataset = json.loads((tmp_path / "second" / "dataset.json").read_text())
    assert dataset["splits"]["test"]["images"] == test
    assert dataset["warnings"][0] == f"1 of {len(test) + 1} images of the held-out test split are not in the data."
    assert [(fault["file"], fault["kind"]) for fault in dataset["faults"]] == [("test/later.jpg", "not_in_frozen_test")]
    assert made.inputs["frozen_test"] == frozen_test_digest([*test, gone])
    assert build_records(str(data), str(tmp_path / "second"), frozen_test=str(frozen)) == made

    frozen.write_text(frozen_test_text({gone: "gone.jpg"}))
    with pytest.raises(BoxcarError, match="None of the 1 images") as caught:
        build_records(str(data), str(tmp_path / "third"), frozen_test=str(frozen))
    assert caught.value.code == ExitCode.DATA
