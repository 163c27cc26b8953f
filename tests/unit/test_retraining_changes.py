"""Whether there is anything new to train on is found without reading what is not new."""

import os
from pathlib import Path
from typing import Any

import pytest

from boxcar.errors import BoxcarError
from boxcar.retraining.changes import INDEX, compare, labelled_images, look, read_index, write_index
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
    store.write("notes.txt", b"nobody reads this")
    store.write(".trash/old.jpg", b"nor this")
    return uri


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is read from here on."""
    found: list[str] = []

    def spy(kind: type[Store]) -> None:
        real = kind.read

        def read(self: Any, name: str, *arguments: Any, **named: Any) -> bytes:
            found.append(name)
            return real(self, name, *arguments, **named)

        monkeypatch.setattr(kind, "read", read)

    for kind in Store.__subclasses__():
        spy(kind)
    return found


def test_everything_is_new_at_first(data: str) -> None:
    now = look(data, None)
    assert sorted(now.files) == [f"pictures/{number}.{suffix}" for number in range(5) for suffix in ("jpg", "xml")]
    changes = compare(None, now)
    assert changes and (len(changes.added), changes.pictures) == (10, 5)
    assert str(changes) == "10 new files; 5 new labeled images"


def test_what_has_not_changed_is_not_read(data: str, reads: list[str]) -> None:
    before = look(data, None)
    reads.clear()
    changes = compare(before, look(data, before))
    assert not changes and str(changes) == "no files; 0 new labeled images"
    assert reads == []


def test_only_what_differs_is_read(data: str, reads: list[str]) -> None:
    before = look(data, None)
    store = open_store(data)
    store.write("pictures/1.xml", b"other boxes")
    store.write("pictures/7.jpg", b"picture 7")
    store.write("pictures/7.xml", b"boxes 7")
    store.write("pictures/8.jpg", b"without boxes")
    store.write("moved/0.jpg", b"picture 0")
    store.write("moved/0.xml", b"boxes 0")
    store.delete(["pictures/0.jpg", "pictures/0.xml"])
    reads.clear()
    changes = compare(before, look(data, before))
    new = {"moved/0.jpg", "moved/0.xml", "pictures/7.jpg", "pictures/7.xml", "pictures/8.jpg"}
    assert set(reads) == new | {"pictures/1.xml"}
    assert set(changes.added) == new
    assert changes.changed == ("pictures/1.xml",)
    assert set(changes.removed) == {"pictures/0.jpg", "pictures/0.xml"}
    assert changes.pictures == 1  # the one that moved is known, and the one without boxes is not labelled


def test_a_picture_that_gets_its_xml_later_counts_then(data: str) -> None:
    store = open_store(data)
    for number in (7, 8):
        store.write(f"pictures/{number}.jpg", b"picture %d" % number)
    before = look(data, None)
    assert compare(None, before).pictures == 5
    store.write("pictures/7.xml", b"boxes 7")
    store.write("elsewhere/9.xml", b"boxes of an image that is not there")
    assert compare(before, look(data, before)).pictures == 1


def test_an_annotation_finds_its_image_by_the_name_in_it(data: str, reads: list[str]) -> None:
    store = open_store(data)
    store.write("pictures/cat.jpg", b"cat")
    store.write("elsewhere/8.xml", b"<annotation><filename>cat.jpg</filename></annotation>")
    before = look(data, None)
    assert "pictures/cat.jpg" in labelled_images(before.files)
    reads.clear()
    assert look(data, before).files["elsewhere/8.xml"].filename == "cat.jpg"
    assert reads == []


def test_a_file_written_again_with_the_same_bytes_is_no_change(data: str) -> None:
    before = look(data, None)
    open_store(data).write("pictures/1.jpg", b"picture 1")
    assert not compare(before, look(data, before))


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("boxes")
    with pytest.raises(BoxcarError, match="There are no images at") as raised:
        look(str(tmp_path), None)
    assert raised.value.code == 64


def test_the_index_is_kept_with_the_model(data: str, tmp_path: Path) -> None:
    model = open_store(str(tmp_path / "models" / "one"))
    assert read_index(model) is None
    index = look(data, None)
    write_index(model, index)
    assert read_index(model) == index


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [("{", 65, "cannot be understood"), ('{"format": 2, "data": "x", "files": {}}', 64, "newer Boxcar")],
)
def test_an_index_that_is_not_ours_is_refused(tmp_path: Path, content: str, code: int, word: str) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(BoxcarError, match=word) as raised:
        read_index(open_store(str(tmp_path)))
    assert raised.value.code == code
    assert os.fspath(tmp_path) in raised.value.what
