"""Files that answer with detections: what they answer, and in what order."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import IMAGE_SIZE, ExportedRun
from PIL import Image

from boxcar.data.example import read_examples
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.sampling import find_shards
from boxcar.export.tflite_postprocess import OUTPUTS, add_postprocess, centered_anchors
from boxcar.inference.anchors import make_anchors
from boxcar.inference.detections import Detections
from boxcar.inference.open_runner import open_runner
from boxcar.inference.preprocessing import preprocess
from boxcar.inference.specification import Anchors, Specification, Thresholds, read_specification
from boxcar.scoring import match

KINDS = ("float32_nms", "int8_nms")


def _file(run: ExportedRun, kind: str) -> Path:
    return run.export / "tflite" / f"detector_{kind}.tflite"


@pytest.fixture(scope="module")
def images(exported_run: ExportedRun) -> list[np.ndarray]:
    examples = read_examples(find_shards(exported_run.records, "test"))
    return [np.asarray(Image.open(io.BytesIO(example.encoded)).convert("RGB")) for example in examples]


@pytest.fixture(scope="module")
def wanted(exported_run: ExportedRun, images: list[np.ndarray]) -> list[Detections]:
    with open_runner(exported_run.frozen) as runner:
        return [runner.detect(image) for image in images]


def _answers(content: bytes, pixels: np.ndarray, threads: int = 1) -> list[np.ndarray]:
    """A file's outputs in their order, as an app on a phone takes them."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[None])
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


@pytest.mark.parametrize("kind", KINDS)
def test_the_outputs_and_their_order(exported_run: ExportedRun, images: list[np.ndarray], kind: str) -> None:
    path = _file(exported_run, kind)
    boxes, classes, scores, count = _answers(path.read_bytes(), preprocess(images[0], read_specification(exported_run.frozen)))
    assert [output.dtype for output in (boxes, classes, scores, count)] == [np.float32] * 4
    assert [output.shape for output in (boxes, classes, scores, count)] == [(1, 100, 4), (1, 100), (1, 100), (1,)]
    assert 10 < count[0] <= 100
    found = int(count[0])
    assert (boxes[0, :found, 2:] > boxes[0, :found, :2]).all()
    assert set(classes[0, :found]) <= {0.0, 1.0, 2.0} and len(set(classes[0, :found])) > 1
    assert (np.diff(scores[0, :found]) <= 0).all()
    assert scores.max() <= 1 and scores[0, :found].min() >= read_specification(path.parent).thresholds.score


@pytest.mark.parametrize("threads", [2, 3, 4, 8])
def test_no_class_is_lost_to_threads(exported_run: ExportedRun, images: list[np.ndarray], threads: int) -> None:
    """The operator alone never looks at class n when it has n threads."""
    content, pixels = (
        _file(exported_run, "float32_nms").read_bytes(),
        preprocess(images[0], read_specification(exported_run.frozen)),
    )
    wanted, found = _answers(content, pixels, 1), _answers(content, pixels, threads)
    count = int(wanted[3][0])
    assert found[3][0] == count
    assert set(wanted[1][0, :count]) == {0.0, 1.0, 2.0}  # class 2 is the one that two threads would lose
    np.testing.assert_array_equal(np.sort(found[1][0, :count]), np.sort(wanted[1][0, :count]))
    np.testing.assert_allclose(found[2][0, :count], wanted[2][0, :count], rtol=0, atol=1e-5)


@pytest.mark.parametrize("threads", [16, 18])
def test_more_threads_than_a_file_bears_are_not_used(exported_run: ExportedRun, images: list[np.ndarray], threads: int) -> None:
    path, pixels = _file(exported_run, "float32_nms"), preprocess(images[0], read_specification(exported_run.frozen))
    count = int(_answers(path.read_bytes(), pixels)[3][0])
    classes = [int(number) for number in _answers(path.read_bytes(), pixels, threads)[1][0, :count]]
    assert set(classes) != {0, 1, 2}  # what it does to a host that knows nothing of it: one class is gone
    with open_runner(path) as few, open_runner(path, threads) as many:
        wanted, found = few.find(pixels), many.find(pixels)
    assert set(wanted.classes.tolist()) == {1, 2, 3}
    np.testing.assert_array_equal(np.sort(found.classes), np.sort(wanted.classes))


def test_a_threshold_that_lets_everything_through_is_raised(exported_run: ExportedRun, images: list[np.ndarray]) -> None:
    specification, pixels = (
        read_specification(exported_run.frozen),
        preprocess(images[0], read_specification(exported_run.frozen)),
    )

    def answers(score: float) -> list[np.ndarray]:
        changed = specification.model_copy(update={"thresholds": Thresholds(score=score)})
        return _answers(_with_postprocess(_file(exported_run, "float32"), changed, True), pixels)

    low, usual = answers(1e-8), answers(0.01)
    for one, other in zip(low, usual, strict=True):
        np.testing.assert_array_equal(one, other)
    # One above it is kept to.
    score = float(usual[2][0, 10])
    high = answers(score)
    assert high[3][0] == np.count_nonzero(usual[2][0, : int(usual[3][0])] >= np.float32(score)) < usual[3][0]


def test_as_many_detections_as_the_detector_may_have(exported_run: ExportedRun, images: list[np.ndarray]) -> None:
    """Of crowded images, more than a hundred; the operator and the host's decoder find the same."""
    from boxcar.inference.decoding import decode
    from boxcar.inference.runner import HeadsRunner

    specification = read_specification(exported_run.frozen)
    thresholds = Thresholds(score=0.01, iou=0.99, max_detections=500, max_detections_per_class=500)
    crowded = specification.model_copy(update={"thresholds": thresholds})
    pixels = preprocess(images[0], specification)
    _, _, scores, count = _answers(_with_postprocess(_file(exported_run, "float32"), crowded, True), pixels)
    with open_runner(_file(exported_run, "float32")) as runner:
        assert isinstance(runner, HeadsRunner)
        wanted = decode(runner.heads(pixels), crowded)
    assert int(count[0]) >= len(wanted.scores) > 100
    np.testing.assert_allclose(scores[0, :100], wanted.scores[:100], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_signature(exported_run: ExportedRun, kind: str) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(_file(exported_run, kind)))
    assert interpreter.get_signature_list() == {"detect": {"inputs": ["image"], "outputs": sorted(OUTPUTS)}}
    answers = interpreter.get_signature_runner("detect")(image=np.zeros([1, IMAGE_SIZE, IMAGE_SIZE, 3], np.float32))
    assert answers["detection_boxes"].shape == (1, 100, 4)
    assert answers["num_detections"].shape == (1,)
    inner = {detail["dtype"] for detail in interpreter.get_tensor_details()}
    assert (np.int8 in inner) == (kind == "int8_nms")


def test_float32_finds_what_the_savedmodel_finds(
    exported_run: ExportedRun, images: list[np.ndarray], wanted: list[Detections]
) -> None:
    asked = found = 0
    with open_runner(_file(exported_run, "float32_nms")) as runner:
        for image, reference in zip(images, wanted, strict=True):
            matches = match(reference, runner.detect(image), min_score=0.2)
            same = matches.iou > 0.999
            assert np.abs(matches.score_difference[same]).max() < 1e-4
            asked, found = asked + len(same), found + int(same.sum())
    assert asked > 50
    # The SavedModel leaves out boxes that lie outside the image before it counts to a hundred, the operator does not.
    assert found >= 0.97 * asked


def test_int8_answers_as_its_twin_with_raw_heads(exported_run: ExportedRun, images: list[np.ndarray]) -> None:
    """The operator takes up where the heads end: the same network, decoded on the host or in the file."""
    asked = found = 0
    with open_runner(_file(exported_run, "int8")) as raw, open_runner(_file(exported_run, "int8_nms")) as decoded:
        for image in images:
            matches = match(raw.detect(image), decoded.detect(image), min_score=0.2)
            asked, found = asked + len(matches.iou), found + int((matches.iou > 0.999).sum())
    assert asked > 50
    assert found >= 0.95 * asked


def test_regular_suppression_is_closer_to_the_savedmodel_than_the_fast_one(
    exported_run: ExportedRun, images: list[np.ndarray], wanted: list[Detections]
) -> None:
    specification = read_specification(exported_run.frozen)
    shares = {}
    for regular in (True, False):
        content = _with_postprocess(_file(exported_run, "float32"), specification, regular)
        found = []
        for image, reference in zip(images, wanted, strict=True):
            boxes, classes, scores, count = (output[0] for output in _answers(content, preprocess(image, specification)))
            kept = slice(int(count))
            other = Detections(np.clip(boxes[kept], 0, 1), scores[kept], classes[kept].astype(np.int64) + 1)
            found += (match(reference, other, min_score=0.2).iou > 0.5).tolist()
        shares[regular] = np.mean(found)
    assert shares[True] > 0.97
    assert shares[False] < shares[True] - 0.05  # objects that overlap


def _with_postprocess(path: Path, specification: Specification, regular: bool) -> bytes:
    from ai_edge_litert.tools import flatbuffer_utils

    model: Any = flatbuffer_utils.read_model_from_bytearray(bytearray(path.read_bytes()))
    add_postprocess(model, specification, use_regular_nms=regular)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def test_heads_of_another_detector(exported_run: ExportedRun) -> None:
    specification = read_specification(exported_run.frozen)
    for change in ({"labels": {1: "one", 2: "two"}}, {"image_size": 128}):
        other = specification.model_copy(update=change)
        with pytest.raises(BoxcarError, match=r"its detector\.json says") as caught:
            _with_postprocess(_file(exported_run, "float32"), other, True)
        assert caught.value.code == ExitCode.DATA


def test_anchors_by_their_centres() -> None:
    specification = Specification(architecture="any", image_size=96, labels={1: "one"}, anchors=Anchors(max_level=4))
    centered = centered_anchors(specification).astype(np.float64)
    corners = np.concatenate([centered[:, :2] - centered[:, 2:] / 2, centered[:, :2] + centered[:, 2:] / 2], axis=1)
    np.testing.assert_allclose(corners, make_anchors(96, specification.anchors), rtol=0, atol=1e-6)
    # The first cell of level 3, whose stride of 8 divides 96: its middle, and a square of four strides.
    np.testing.assert_allclose(centered[0], [4 / 96, 4 / 96, 32 / 96, 32 / 96], rtol=0, atol=1e-6)
