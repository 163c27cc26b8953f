"""Records are read without TensorFlow as TensorFlow writes them, and damage is named by shard and offset."""

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from example_bytes import example, floats, frame, integers, texts
from hypothesis import given
from hypothesis import strategies as st

from boxcar.data.example import Example, decode_example, index_shard, read_examples
from boxcar.errors import BoxcarError


def test_an_example_comes_back(tmp_path: Path) -> None:
    shard = tmp_path / "train-00000-of-00001.tfrecord"
    shard.write_bytes(frame(example()))
    (found,) = read_examples([shard])
    assert (found.encoded, found.filename, found.source_id, found.sha256) == (b"JPEG", "Bär.jpg", "17", "ab" * 32)
    assert (found.height, found.width) == (100, 200)
    np.testing.assert_array_equal(found.boxes, np.array([[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 0.5]], np.float32))
    assert found.boxes.dtype == np.float32
    np.testing.assert_array_equal(found.labels, np.array([1, 300]))
    assert found.labels.dtype == np.int64
    assert found.is_crowd.tolist() == [False, False]
    np.testing.assert_allclose(found.area, [0.04 * 20000, 0.5 * 20000], rtol=1e-6)


def test_a_negative_and_unpacked_lists_are_read(tmp_path: Path) -> None:
    names = ("bbox/ymin", "bbox/xmin", "bbox/ymax", "bbox/xmax", "class/label")
    none = {f"image__object__{name.replace('/', '__')}": None for name in names}
    unpacked = {
        **{
            f"image__object__bbox__{e}": (2, b"\x0d" + struct.pack("<f", v))
            for e, v in (("ymin", 0.0), ("xmin", 0.0), ("ymax", 1.0), ("xmax", 1.0))
        },
        "image__object__class__label": (3, b"\x08\x02"),
        "image__object__is_crowd": (3, b"\x08\x01"),
        "image__object__area": (2, floats(7.0)),
        "image__key__sha256": None,
    }
    shard = tmp_path / "shard"
    shard.write_bytes(frame(example(**none)) + frame(example(**unpacked)))
    negative, crowd = read_examples([shard])
    assert negative.boxes.shape == (0, 4)
    assert negative.labels.shape == negative.is_crowd.shape == negative.area.shape == (0,)
    assert crowd.labels.tolist() == [2]
    assert crowd.is_crowd.tolist() == [True]
    assert crowd.area.tolist() == [7.0]
    assert crowd.sha256 == hashlib.sha256(b"JPEG").hexdigest()


def test_a_file_name_that_is_not_utf8_can_be_read(tmp_path: Path) -> None:
    shard = tmp_path / "shard"
    shard.write_bytes(frame(example(image__filename=(1, texts(b"B\xe4r.jpg")))))
    (found,) = read_examples([shard])
    assert found.filename == "B\ufffdr.jpg"


def test_index_and_reading_agree(tmp_path: Path) -> None:
    shard = tmp_path / "shard"
    payloads = [example(), example(image__source_id=(1, texts(b"x" * 300))), example()]
    shard.write_bytes(b"".join(map(frame, payloads)))
    content = shard.read_bytes()
    assert [content[offset : offset + length] for offset, length in index_shard(shard)] == payloads
    empty = tmp_path / "empty"
    empty.touch()
    assert index_shard(empty) == []
    assert list(read_examples([empty, shard]))[1].source_id == "x" * 300


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image__encoded": None}, "image/encoded has 0 values"),
        ({"image__height": (3, integers(0))}, "its size is 200 x 0"),
        ({"image__height": (1, texts(b"9"))}, "image/height holds bytes"),
        ({"image__object__bbox__ymin": (2, floats(0.1))}, "differ in length"),
        ({"image__object__bbox__ymin": (2, floats(0.1, float("nan")))}, "not a finite number"),
        ({"image__object__class__label": (3, integers(1, 0))}, "label is below 1"),
        ({"image__object__class__label": (3, integers(1, -5))}, "label is below 1"),
        ({"image__object__is_crowd": (3, integers(1))}, "differ in length"),
        ({"image__object__bbox__ymin": (2, b"\x09" + bytes([255] * 8))}, "differ in length"),
        ({"image__object__bbox__ymin": (2, b"\x0a\x03abc")}, "not a tf.train.Example"),
        ({"image__object__bbox__ymin": (2, b"\x0a\xff\x01abc")}, "not a tf.train.Example"),
    ],
)
def test_unfit_examples_are_named(tmp_path: Path, changes: dict[str, tuple[int, bytes]], reason: str) -> None:
    shard = tmp_path / "test-00001-of-00002.tfrecord"
    first = frame(example())
    shard.write_bytes(first + frame(example(**changes)))
    with pytest.raises(BoxcarError, match=reason) as refused:
        list(read_examples([shard]))
    assert refused.value.code == 65
    assert f"byte {len(first)} of {shard}" in refused.value.what


def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path: Path) -> None:
    shard = tmp_path / "shard"
    first, second = frame(example()), frame(example())
    for place in range(len(first), len(first) + len(second)):
        content = bytearray(first + second)
        content[place] ^= 0x40
        shard.write_bytes(content)
        with pytest.raises(BoxcarError, match=f"byte {len(first)} of") as refused:
            list(read_examples([shard]))
        assert refused.value.code == 65
    for end in range(len(first) + 1, len(first) + len(second)):
        shard.write_bytes((first + second)[:end])
        for read in (lambda: list(read_examples([shard])), lambda: index_shard(shard)):
            with pytest.raises(BoxcarError, match="ends in the middle"):
                read()


@given(st.binary(max_size=200))
def test_bytes_that_are_no_example_are_refused(payload: bytes) -> None:
    with pytest.raises(BoxcarError, match="byte 7 of shard") as refused:
        decode_example(payload, Path("shard"), 7)
    assert refused.value.code == 65


@given(st.integers(0, len(example()) - 1), st.binary(min_size=1, max_size=3))
def test_a_damaged_example_is_refused_or_read(place: int, other: bytes) -> None:
    payload = example()[:place] + other + example()[place + len(other) :]
    try:
        found = decode_example(payload, Path("shard"), 7)
    except BoxcarError as refused:
        assert refused.code == 65
        assert "byte 7 of shard" in refused.what
    else:
        assert isinstance(found, Example)
        assert found.boxes.shape == (len(found.labels), 4)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(BoxcarError, match=r"gone\.tfrecord is missing") as refused:
        list(read_examples([tmp_path / "gone.tfrecord"]))
    assert refused.value.code == 65


def test_what_tensorflow_writes_is_read(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    lists = tf.train
    features = {
        "image/encoded": lists.Feature(bytes_list=lists.BytesList(value=[b"\x00\xffpicture"])),
        "image/height": lists.Feature(int64_list=lists.Int64List(value=[480])),
        "image/width": lists.Feature(int64_list=lists.Int64List(value=[640])),
        "image/source_id": lists.Feature(bytes_list=lists.BytesList(value=[b"9"])),
        "image/object/class/label": lists.Feature(int64_list=lists.Int64List(value=[3, 1])),
        "image/object/class/text": lists.Feature(bytes_list=lists.BytesList(value=[b"cat", b"dog"])),
        **{
            f"image/object/bbox/{edge}": lists.Feature(float_list=lists.FloatList(value=[value, value / 2]))
            for edge, value in (("ymin", 0.1), ("xmin", 0.2), ("ymax", 0.7), ("xmax", 0.9))
        },
        "image/object/is_crowd": lists.Feature(int64_list=lists.Int64List(value=[-(2**63), 0])),
        "image/object/area": lists.Feature(),
    }
    message = lists.Example(features=lists.Features(feature=features)).SerializeToString()
    shard = tmp_path / "shard"
    with tf.io.TFRecordWriter(str(shard)) as writer:
        writer.write(message)
        writer.write(message)
    found = list(read_examples([shard]))
    assert len(found) == len(index_shard(shard)) == 2
    np.testing.assert_allclose(found[0].boxes, [[0.1, 0.2, 0.7, 0.9], [0.05, 0.1, 0.35, 0.45]], rtol=1e-6)
    assert found[0].labels.tolist() == [3, 1]
    assert found[0].is_crowd.tolist() == [True, False]
    np.testing.assert_allclose(found[0].area, [0.42 * 640 * 480, 0.105 * 640 * 480], rtol=1e-6)
    assert (found[0].encoded, found[0].height, found[0].width) == (b"\x00\xffpicture", 480, 640)
