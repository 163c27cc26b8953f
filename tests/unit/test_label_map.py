"""`label_map.pbtxt` is read as the Object Detection API writes it, and refused with a reason if it is broken."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxcar.data.label_map import (
    LARGEST_ID,
    label_map_text,
    read_given_label_map,
    read_label_map,
    with_classes,
    write_label_map,
)
from boxcar.errors import BoxcarError, ExitCode


def test_written_text_is_the_api_s(tmp_path: Path) -> None:
    write_label_map(tmp_path / "label_map.pbtxt", {2: "dog's", 1: "cat"})
    assert (tmp_path / "label_map.pbtxt").read_text() == (
        "item {\n  id: 1\n  name: 'cat'\n}\nitem {\n  id: 2\n  name: 'dog\\'s'\n}\n"
    )
    assert read_label_map(tmp_path / "label_map.pbtxt") == {1: "cat", 2: "dog's"}


@given(st.dictionaries(st.integers(1, LARGEST_ID), st.text(min_size=1).filter(str.strip), max_size=5))
def test_any_names_come_back(tmp_path_factory: pytest.TempPathFactory, labels: dict[int, str]) -> None:
    labels = {number: name for number, name in labels.items() if name.isprintable() or name.isascii()}
    labels = {number: name for number, name in labels.items() if list(labels.values()).count(name) == 1}
    path = tmp_path_factory.mktemp("labels") / "label_map.pbtxt"
    path.write_bytes(label_map_text(labels).encode())
    if labels:
        assert read_label_map(path) == labels


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('item {\n  name: "/m/01g317"\n  id: 1\n  display_name: "person"\n}\n', {1: "/m/01g317"}),
        ("item { id: 3 display_name: 'person' }", {3: "person"}),
        ("item{id:1,name:'a'}item{name:'b';id:2}", {1: "a", 2: "b"}),
        ("# cats only\nitem: <\n id: 1 # one\n name: 'ca' \"t\" >", {1: "cat"}),
        (r"item { id: 1 name: '\x41\102\n\'\"\\' }", {1: "AB\n'\"\\"}),
        ("item { id: 1 name: 'a' keypoints { id: 7 label: '}' } keypoints: < id: 8 > }", {1: "a"}),
        ("\ufeffitem { id: 90 name: 'toothbrush' } item { id: 1 name: 'Bär' }", {1: "Bär", 90: "toothbrush"}),
        ("item { id: 0 name: 'background' } item { id: 1 name: 'cat' }", {1: "cat"}),
        (r"item { id: 1 name: 'B\303\244r' }", {1: "Bär"}),
    ],
)
def test_every_way_of_writing_is_read(tmp_path: Path, text: str, labels: dict[int, str]) -> None:
    path = tmp_path / "label_map.pbtxt"
    path.write_text(text, encoding="utf-8")
    assert read_label_map(path) == labels
    assert list(read_label_map(path)) == sorted(labels)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "contains no item"),
        (b"# nothing\n", "contains no item"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"cat\ndog\n", "line 2: "),
        (b"item id: 1", 'Expected "{"'),
        (b"item", 'Expected "{"'),
        (b"item { id: 1 name: 'a'", 'line 1: Expected "}"'),
        (b"item { id: 1 name: 'a' x {", "line 1: "),
        (b"item {\n id: 1 name: 'a }", "line 2"),
        (b"item { id: 1 name: }", "Expected string"),
        (b"item { id: 1 name }", 'Expected ":"'),
        (b"item { 'id': 1 }", "Expected identifier"),
        (b"item { id: 1 name: 'a' } item { id: 1 name: 'b' }", "item 2 has the id 1, which appears twice"),
        (b"item { id: 1 name: 'a' }\nitem { id: 2 name: 'a' }", "item 2 has the name 'a', which appears twice"),
        (b"item { id: 1 id: 2 name: 'a' }", 'multiple "id" fields'),
        (b"item { id: 0 name: 'a' }", "has the id 0"),
        (b"item { id: 0 name: 'background' }", "contains no item"),
        (b"item { id: -1 name: 'a' }", "has the id -1"),
        (b"item { id: 2147483647 name: 'a' }", "has the id 2147483647"),
        (b"item { id: 99999999999 name: 'a' }", "out of range: 99999999999"),
        (b"item { id: 1.5 name: 'a' }", "integer: 1.5"),
        (b"item { id: '1' name: 'a' }", "integer: '1'"),
        (b"item { name: 'a' }", "has no id"),
        (b"item { id: 1 }", "has no name"),
        (b"item { id: 1 name: ' ' }", "has no name"),
        (b"item { id: 1 name: a }", "Expected string"),
        (rb"item { id: 1 name: '\377' }", "can't decode"),
        (b"item { id: 1 name: @ }", "Expected string"),
        (b"x{" * 5000, "is not a label map"),
        (b"item { id: 1 name: '\x1b[2J }", "?[2J"),
    ],
)
def test_a_broken_file_is_65_with_the_reason(tmp_path: Path, text: bytes, reason: str) -> None:
    path = tmp_path / "label_map.pbtxt"
    path.write_bytes(text)
    with pytest.raises(BoxcarError) as caught:
        read_label_map(path)
    assert caught.value.code == ExitCode.DATA
    assert reason in caught.value.what
    assert str(path) in caught.value.what


@given(st.binary(max_size=80) | st.text("item{}<>:idname'\"\\ 01\n#", max_size=60).map(str.encode))
def test_any_bytes_give_labels_or_a_plain_refusal(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("labels") / "label_map.pbtxt"
    path.write_bytes(content)
    try:
        labels = read_label_map(path)
    except BoxcarError as error:
        assert error.code == ExitCode.DATA
    else:
        assert labels
        assert min(labels) >= 1


def test_a_missing_file_is_64(tmp_path: Path) -> None:
    with pytest.raises(BoxcarError) as caught:
        read_label_map(tmp_path / "label_map.pbtxt")
    assert caught.value.code == ExitCode.USAGE


def test_white_space_around_names_is_removed_and_said(tmp_path: Path) -> None:
    path = tmp_path / "label_map.pbtxt"
    path.write_text("item { id: 1 name: 'apple ' } item { id: 2 name: 'hot\\t dog' } item { id: 3 name: 'pear' }")
    labels, notes = read_given_label_map(path)
    assert labels == {1: "apple", 2: "hot dog", 3: "pear"}
    assert len(notes) == 1 and "'apple '" in notes[0]
    path.write_text("item { id: 1 name: 'apple' }")
    assert read_given_label_map(path) == ({1: "apple"}, [])
    path.write_text("item { id: 1 name: 'apple' } item { id: 2 name: 'apple ' }")
    with pytest.raises(BoxcarError, match="'apple' appears twice") as caught:
        read_given_label_map(path)
    assert caught.value.code == ExitCode.DATA


def test_no_id_is_left_after_the_largest() -> None:
    assert with_classes({LARGEST_ID - 1: "cat"}, ["dog"])[LARGEST_ID] == "dog"
    with pytest.raises(BoxcarError, match="dog") as caught:
        with_classes({LARGEST_ID: "cat"}, ["dog"])
    assert caught.value.code == ExitCode.DATA
