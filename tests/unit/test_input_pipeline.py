"""Records as tensors: the same batches whenever they are asked for, every picture once an epoch, every kind of picture."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from example_bytes import example, floats, frame, integers, texts
from PIL import Image

from boxcar.data.example import read_examples
from boxcar.data.input_pipeline import IndexedSplit, batch_members, evaluation_batches, training_batches
from boxcar.errors import BoxcarError
from boxcar.inference.anchors import make_anchors
from boxcar.inference.preprocessing import check_value_range, preprocess
from boxcar.inference.specification import Specification

SPECIFICATION = Specification(architecture="any", image_size=64, labels={1: "a", 2: "b", 3: "c"})
ALL = ("horizontal_flip", "mosaic", "crop", "scale_jitter", "colour")


def shard_of(path: Path, pictures: list[tuple[bytes, int, int]]) -> Path:
    """A shard of encoded pictures with their height and width, each with one box of class 1."""
    sides = {
        f"image__object__bbox__{side}": (2, floats(value))
        for side, value in zip(("ymin", "xmin", "ymax", "xmax"), (0.25, 0.25, 0.75, 0.75), strict=True)
    }
    path.write_bytes(
        b"".join(
            frame(
                example(
                    image__encoded=(1, texts(encoded)),
                    image__height=(3, integers(height)),
                    image__width=(3, integers(width)),
                    image__object__class__label=(3, integers(1)),
                    **sides,
                )
            )
            for encoded, height, width in pictures
        )
    )
    return path


def encode(pixels: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two shards of 7 and 4 PNG files, each of one grey that tells which it is; and an empty shard between them."""
    folder = tmp_path_factory.mktemp("numbered")
    files = [(encode(np.full((20, 30, 3), 20 * number, np.uint8), "PNG"), 20, 30) for number in range(11)]
    return [shard_of(folder / "a", files[:7]), shard_of(folder / "b", []), shard_of(folder / "c", files[7:])]


def order(batches: tf.data.Dataset, count: int) -> list[int]:
    """Which pictures the first batches hold."""
    return [round((float(image[0, 0, 0]) + 1) * 127.5 / 20) for batch in batches.take(count) for image in batch["image"]]


def test_a_split_gives_each_example_at_its_place(numbered: list[Path]) -> None:
    split = IndexedSplit(numbered)
    assert len(split) == 11
    encoded = [example.encoded for example in read_examples(numbered)]
    assert all(encoded[index] in split.payload(index) for index in range(11))
    assert len(IndexedSplit([])) == 0


def test_a_split_tells_the_name_of_the_picture_at_a_place(shapes_records: Path) -> None:
    shards = sorted(shapes_records.glob("train-*.tfrecord"))
    split = IndexedSplit(shards)
    assert [split.example(index).filename for index in range(len(split))] == [one.filename for one in read_examples(shards)]


def test_a_record_that_is_no_picture_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(frame(example()) + frame(example(image__height=None)))
    with pytest.raises(BoxcarError, match=f"record at byte {len(frame(example()))} of .*odd") as error:
        IndexedSplit([tmp_path / "odd"]).example(1)
    assert error.value.code == 65


def test_a_shard_that_was_cut_short_is_refused(numbered: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(numbered[0].read_bytes()[:-3])
    with pytest.raises(BoxcarError, match="cut") as error:
        IndexedSplit([tmp_path / "cut"])
    assert error.value.code == 65


def test_every_epoch_is_a_permutation_of_its_own(numbered: list[Path]) -> None:
    # 11 batches of 3 are three epochs of 11; their borders lie inside of batches.
    seen = order(training_batches(IndexedSplit(numbered), SPECIFICATION, 3, (), 5, 0), 11)
    epochs = [seen[:11], seen[11:22], seen[22:]]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    other = order(training_batches(IndexedSplit(numbered), SPECIFICATION, 3, (), 6, 0), 4)
    assert other != seen[:12]


@pytest.mark.parametrize("first", [4, *(pytest.param(step, marks=pytest.mark.slow) for step in (1, 9))])
def test_from_any_step_on_the_batches_are_those_of_an_undisturbed_run(shapes_records: Path, first: int) -> None:
    split = IndexedSplit(sorted(shapes_records.glob("train-*.tfrecord")))
    straight = list(training_batches(split, SPECIFICATION, 4, ALL, 1, 0).take(first + 2))[first:]
    resumed = list(training_batches(split, SPECIFICATION, 4, ALL, 1, first).take(2))
    for ours, theirs in zip(resumed, straight, strict=True):
        for name in ("image", "box_targets", "class_targets"):
            np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.parametrize("replica_batch_size", [2, pytest.param(None, marks=pytest.mark.slow)])
def test_pipelines_together_give_what_a_single_one_does(shapes_records: Path, replica_batch_size: int | None) -> None:
    split = IndexedSplit(sorted(shapes_records.glob("train-*.tfrecord")))
    alone = list(training_batches(split, SPECIFICATION, 8, ALL, 1, 2).take(3))
    batches = 3 if replica_batch_size is None else 6
    dealt = [
        list(
            training_batches(
                split, SPECIFICATION, 8, ALL, 1, 2, pipeline=(number, 2), replica_batch_size=replica_batch_size
            ).take(batches)
        )
        for number in range(2)
    ]
    for name in ("image", "box_targets", "class_targets"):
        slices = [np.concatenate([batch[name] for batch in pipeline]).reshape(3, 4, -1) for pipeline in dealt]
        together = np.concatenate(slices, axis=1)
        np.testing.assert_array_equal(together, np.stack([batch[name] for batch in alone]).reshape(3, 8, -1))


@pytest.mark.parametrize(("batch_size", "pipelines", "replica_batch_size"), [(7, 2, None), (8, 2, 3)])
def test_a_batch_that_cannot_be_dealt_out_evenly_is_refused(
    numbered: list[Path], batch_size: int, pipelines: int, replica_batch_size: int | None
) -> None:
    with pytest.raises(BoxcarError, match="evenly") as error:
        training_batches(
            IndexedSplit(numbered),
            SPECIFICATION,
            batch_size,
            (),
            0,
            0,
            pipeline=(0, pipelines),
            replica_batch_size=replica_batch_size,
        )
    assert error.value.code == 64


def test_the_members_of_a_batch_are_those_that_were_read(numbered: list[Path]) -> None:
    # 11 batches of 4 reach into a fourth epoch.
    read = order(training_batches(IndexedSplit(numbered), SPECIFICATION, 4, (), 5, 0), 11)
    assert [member for step in range(11) for member in batch_members(11, 4, (), 5, step)] == read


def test_the_members_of_a_mosaic_are_the_four_that_are_seen_in_it(numbered: list[Path]) -> None:
    members = np.reshape(batch_members(11, 6, ("mosaic",), 5, 3), (6, 4))
    (batch,) = training_batches(IndexedSplit(numbered), SPECIFICATION, 6, ("mosaic",), 5, 3).take(1)
    corners = batch["image"].numpy()[:, [0, 0, -1, -1], [0, -1, 0, -1], 0]
    np.testing.assert_array_equal(members, np.round((corners + 1) * 127.5 / 20))
    assert members[:, 0].tolist() == batch_members(11, 6, (), 5, 3)
    assert len({tuple(others) for others in members[:, 1:]}) == 6


def test_batches_have_the_promised_shapes_and_range(shapes_records: Path) -> None:
    split = IndexedSplit(sorted(shapes_records.glob("train-*.tfrecord")))
    anchors = len(make_anchors(64, SPECIFICATION.anchors))
    for batch in training_batches(split, SPECIFICATION, 5, ALL, 1, 0).take(6):
        assert batch["image"].shape == (5, 64, 64, 3)
        assert batch["box_targets"].shape == (5, anchors, 4)
        assert batch["class_targets"].shape == (5, anchors)
        check_value_range(batch["image"].numpy(), SPECIFICATION)
        assert batch["image"].numpy().min() < -0.5, "0 to 1 would be the usual mistake"
        assert batch["class_targets"].numpy().max() in (1, 2, 3)


def test_a_split_of_one_picture_can_be_trained_on(numbered: list[Path], tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "one", [(encode(np.full((9, 9, 3), 40, np.uint8), "PNG"), 9, 9)])
    assert order(training_batches(IndexedSplit([shard]), SPECIFICATION, 3, (), 0, 7), 2) == [2] * 6


def test_every_kind_of_picture_is_read_as_the_host_reads_it(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    colour = random.integers(0, 256, (33, 47, 3), np.uint8)
    grey = random.integers(0, 256, (50, 20), np.uint8)
    files = [encode(colour, "PNG"), encode(grey, "PNG"), encode(colour, "JPEG"), encode(grey, "JPEG")]
    shard = shard_of(tmp_path / "kinds", [(file, *np.asarray(Image.open(io.BytesIO(file))).shape[:2]) for file in files])
    batches = list(evaluation_batches(IndexedSplit([shard]), SPECIFICATION, 3))
    assert [batch.shape for batch in batches] == [(3, 64, 64, 3), (1, 64, 64, 3)]
    for file, ours in zip(files, np.concatenate(batches), strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
        # Two JPEG decoders may differ by a shade or two.
        np.testing.assert_allclose(ours, preprocess(pixels, SPECIFICATION), atol=1e-5 if file[:4] == b"\x89PNG" else 8 / 255)


def test_evaluation_goes_through_the_split_in_its_order(numbered: list[Path]) -> None:
    seen = [
        round((float(image[0, 0, 0]) + 1) * 127.5 / 20)
        for batch in evaluation_batches(IndexedSplit(numbered), SPECIFICATION, 4)
        for image in batch
    ]
    assert seen == list(range(11))
