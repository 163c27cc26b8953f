"""TensorFlow and Model Garden's decoder read the records back."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled import data_set, label, picture, records_of, save
from PIL import Image

from boxcar.records import build_records

tf = pytest.importorskip("tensorflow")

FLOATS = [f"image/object/bbox/{side}" for side in ("xmin", "xmax", "ymin", "ymax")] + ["image/object/area"]
INTEGERS = [f"image/object/{key}" for key in ("class/label", "difficult", "truncated", "is_crowd")]
STRINGS = ["image/object/class/text", "image/object/view"]
SCALARS = {
    "image/encoded": tf.string,
    "image/filename": tf.string,
    "image/format": tf.string,
    "image/height": tf.int64,
    "image/key/sha256": tf.string,
    "image/source_id": tf.string,
    "image/width": tf.int64,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    data = data_set(folder / "data")
    label(data / "p0.xml", boxes=[("cat", 16, 12, 48, 36), ("dog's", 0, 0, 64, 48)])
    label(data / "p1.xml", boxes=[])
    save(data / "long.png", picture("long", (300, 20)).convert("L"))
    label(data / "long.xml", (300, 20), [("Bär", 0.5, 1.5, 299.5 - number, 20) for number in range(130)])
    save(data / "cmyk.jpg", picture("cmyk").convert("CMYK"))
    build_records(str(data), str(folder / "out"), unlabeled="background")
    return folder


def _shards(folder: Path) -> list[str]:
    return sorted(str(path) for path in (folder / "out").glob("*.tfrecord"))


def test_tensorflow_parses_every_key(built: Path) -> None:
    features: dict[str, Any] = {key: tf.io.FixedLenFeature((), dtype) for key, dtype in SCALARS.items()}
    for keys, dtype in ((FLOATS, tf.float32), (INTEGERS, tf.int64), (STRINGS, tf.string)):
        features.update({key: tf.io.RaggedFeature(dtype) for key in keys})
    dataset = tf.data.TFRecordDataset(_shards(built)).map(lambda record: tf.io.parse_single_example(record, features))
    found = {example["image/filename"].numpy().decode(): example for example in dataset}
    assert sorted(found) == ["cmyk.jpg", "long.png", *(f"p{n}.jpg" for n in range(6))]
    assert len({int(example["image/source_id"]) for example in found.values()}) == 8
    for name, example in found.items():
        content = (built / "data" / name).read_bytes()
        assert example["image/key/sha256"].numpy().decode() == hashlib.sha256(content).hexdigest()
        pixels = tf.io.decode_image(example["image/encoded"]).numpy()
        assert pixels.shape == (int(example["image/height"]), int(example["image/width"]), 3)
        with Image.open(built / "data" / name) as image:
            assert np.abs(pixels.astype(int) - np.asarray(image.convert("RGB"))).mean() < 8
    labels = {"Bär": 1, "cat": 2, "dog's": 3}
    example = found["p0.jpg"]
    assert [text.decode() for text in example["image/object/class/text"].numpy()] == ["cat", "dog's"]
    assert example["image/object/class/label"].numpy().tolist() == [labels["cat"], labels["dog's"]]
    assert example["image/object/bbox/xmin"].numpy().tolist() == [0.25, 0.0]
    assert example["image/object/bbox/ymax"].numpy().tolist() == [0.75, 1.0]
    assert example["image/object/area"].numpy().tolist() == [32 * 24, 64 * 48]
    assert example["image/object/truncated"].numpy().tolist() == [1, 1]
    assert example["image/object/view"].numpy().tolist() == [b"Frontal", b"Frontal"]
    assert found["p0.jpg"]["image/encoded"].numpy() == (built / "data" / "p0.jpg").read_bytes()
    assert found["p1.jpg"]["image/object/bbox/xmin"].shape == (0,)
    assert found["long.png"]["image/object/class/label"].shape == (130,)


def test_the_encoding_is_what_protobuf_itself_understands(built: Path) -> None:
    dataset = json.loads((built / "out" / "dataset.json").read_text())
    hashes = []
    for split in dataset["splits"].values():
        for shard in split["shards"]:
            for record in records_of(built / "out" / shard):
                example = tf.train.Example.FromString(record)
                assert example.IsInitialized()
                keys = set(example.features.feature)
                assert keys == {*SCALARS, *FLOATS, *INTEGERS, *STRINGS}
                # Deterministic serialisation sorts the map by keys and drops nothing: only then are the lengths equal.
                assert len(example.SerializeToString(deterministic=True)) == len(record)
                hashes.append(example.features.feature["image/key/sha256"].bytes_list.value[0].decode())
    assert hashes == [name for split in dataset["splits"].values() for name in split["images"]]


def test_model_garden_decodes_them(built: Path) -> None:
    decoder_module = pytest.importorskip("official.vision.dataloaders.tf_example_decoder")
    utils = pytest.importorskip("official.vision.dataloaders.utils")
    decoder = decoder_module.TfExampleDecoder()
    boxes = 0
    for record in tf.data.TFRecordDataset(_shards(built)):
        decoded = decoder.decode(record)
        assert int(utils.process_source_id(decoded["source_id"])) == int(decoded["source_id"])
        assert decoded["image"].shape == (int(decoded["height"]), int(decoded["width"]), 3)
        assert decoded["groundtruth_boxes"].shape[0] == decoded["groundtruth_classes"].shape[0]
        assert bool(tf.reduce_all((decoded["groundtruth_boxes"] >= 0) & (decoded["groundtruth_boxes"] <= 1)))
        boxes += decoded["groundtruth_boxes"].shape[0]
    assert boxes == 2 + 4 + 130


def test_model_garden_decodes_masks(tmp_path: Path) -> None:
    decoder_module = pytest.importorskip("official.vision.dataloaders.tf_example_decoder")
    data = data_set(tmp_path / "data", 3)
    polygon = "<polygon><pt><x>8</x><y>6</y></pt><pt><x>40</x><y>6</y></pt><pt><x>40</x><y>30</y></pt></polygon>"
    text = (data / "p0.xml").read_text().replace("</object>", f"{polygon}</object>")
    (data / "p0.xml").write_text(text)
    label(data / "p1.xml", boxes=[("cat", 8, 6, 40, 30), ("cat", 1, 1, 3, 3)])
    save(data / "empty.jpg", picture("empty"))
    build_records(str(data), str(tmp_path / "out"), unlabeled="background")
    decoder = decoder_module.TfExampleDecoder(include_mask=True)
    sums = []
    for record in tf.data.TFRecordDataset(_shards(tmp_path)):
        decoded = decoder.decode(record)
        masks = decoded["groundtruth_instance_masks"].numpy()
        assert masks.shape == (len(decoded["groundtruth_boxes"]), 48, 64)
        assert set(np.unique(masks)) <= {0.0, 1.0}
        sums.append(sorted(masks.sum((1, 2)).tolist()))
    assert sorted(sums, key=lambda found: (len(found), found)) == [[], [384.0], [768.0], [4.0, 768.0]]
