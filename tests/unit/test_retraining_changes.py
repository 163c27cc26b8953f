"""Changes in a folder of images are found without reading unchanged files."""

import os
from pathlib import Path
from typing import Any

import pytest

from boxcar.errors import BoxcarError
from boxcar.retraining.changes import INDEX, compare, index_files, read_index, write_index
from boxcar.storage import Store, open_store


@pytest.fixture(params=["folder", "bucket"])
def data(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = str(tmp_path / "data")
    if request.param == "bucket":
        server = request.getfixturevalue("minio")
        for name, value in server.environment(server.address).items():
            monkeypatch.setenv(name, value)
        uri = f"s3://{server.make_bucket()}/data"
    store = open_store(uri)
    for number in range(5):
        store.write(f"pictures/{number}.jpg", f"picture {number}".encode())
        store.write(f"pictures/{number}.xml", f"boxes {number}".encode())
    store.write("notes.txt", b"not read")
    store.write(".trash/old.jpg", b"not read")
    return uri


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all files that are read whole, and not in parts to recognize the format."""
    found: list[str] = []

    def spy(kind: type[Store]) -> None:
        real = kind.read

        def read(self: Any, name: str, *arguments: Any, **named: Any) -> bytes:
            if not arguments:
                found.append(name)
            return real(self, name, *arguments, **named)

        monkeypatch.setattr(kind, "read", read)

    for kind in Store.__subclasses__():
        spy(kind)
    return found


def test_everything_is_new_at_first(data: str) -> None:
    now = index_files(data, None)
    assert sorted(now.files) == [f"pictures/{number}.{suffix}" for number in range(5) for suffix in ("jpg", "xml")]
    changes = compare(None, now)
    assert changes and (len(changes.added), changes.pictures) == (10, 5)
    assert str(changes) == "10 new files; 5 new labeled images"


def test_unchanged_files_are_not_read(data: str, reads: list[str]) -> None:
    before = index_files(data, None)
    reads.clear()
    changes = compare(before, index_files(data, before))
    assert not changes and str(changes) == "no files; 0 new labeled images"
    assert reads == []


def test_only_changed_files_are_read(data: str, reads: list[str]) -> None:
    before = index_files(data, None)
    store = open_store(data)
    store.write("pictures/1.xml", b"other boxes")
    store.write("pictures/7.jpg", b"picture 7")
    store.write("pictures/7.xml", b"boxes 7")
    store.write("pictures/8.jpg", b"without boxes")
    store.write("moved/0.jpg", b"picture 0")
    store.write("moved/0.xml", b"boxes 0")
    store.delete(["pictures/0.jpg", "pictures/0.xml"])
    reads.clear()
    changes = compare(before, index_files(data, before))
    new = {"moved/0.jpg", "moved/0.xml", "pictures/7.jpg", "pictures/7.xml", "pictures/8.jpg"}
    assert set(reads) == new | {"pictures/1.xml"}
    assert set(changes.added) == new
    assert changes.changed == ("pictures/1.xml",)
    assert set(changes.removed) == {"pictures/0.jpg", "pictures/0.xml"}
    assert changes.pictures == 1  # one was moved, and one has no annotation


def test_an_image_counts_once_it_has_an_annotation(data: str) -> None:
    store = open_store(data)
    for number in (7, 8):
        store.write(f"pictures/{number}.jpg", b"picture %d" % number)
    before = index_files(data, None)
    assert compare(None, before).pictures == 5
    store.write("pictures/7.xml", b"boxes 7")
    store.write("elsewhere/9.xml", b"boxes of a missing image")
    assert compare(before, index_files(data, before)).pictures == 1


def test_an_annotation_is_paired_by_the_name_in_it(data: str, reads: list[str]) -> None:
    store = open_store(data)
    store.write("pictures/cat.jpg", b"cat")
    store.write("elsewhere/8.xml", b"<annotation><filename>cat.jpg</filename></annotation>")
    before = index_files(data, None)
    assert before.files["pictures/cat.jpg"].labeled
    reads.clear()
    assert index_files(data, before).files["elsewhere/8.xml"].filename == "cat.jpg"
    assert reads == []


def test_a_file_that_was_rewritten_with_the_same_bytes_is_unchanged(data: str) -> None:
    before = index_files(data, None)
    open_store(data).write("pictures/1.jpg", b"picture 1")
    assert not compare(before, index_files(data, before))


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("boxes")
    with pytest.raises(BoxcarError, match="There are no images at") as raised:
        index_files(str(tmp_path), None)
    assert raised.value.code == 64


def test_the_index_is_kept_with_the_model(data: str, tmp_path: Path) -> None:
    model = open_store(str(tmp_path / "models" / "one"))
    assert read_index(model) is None
    index = index_files(data, None)
    write_index(model, index)
    assert read_index(model) == index


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [("{", 65, "is not valid"), ('{"format": 2, "data": "x", "files": {}}', 64, "newer Boxcar")],
)
def test_an_index_of_another_format_is_refused(tmp_path: Path, content: str, code: int, word: str) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(BoxcarError, match=word) as raised:
        read_index(open_store(str(tmp_path)))
    assert raised.value.code == code
    assert os.fspath(tmp_path) in raised.value.what


def test_an_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"PK")
    with pytest.raises(BoxcarError, match=r"data\.zip is a file\. A retraining reads the files of a folder") as caught:
        index_files(str(tmp_path / "data.zip"), None)
    assert caught.value.code == 64
