"""The browser's decoder and preprocessing, run by Node: they say what Python's say, on the golden vectors and in odd cases."""

import base64
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import golden_inputs
import numpy as np
import pytest
from exported import ARCHITECTURE

from boxcar.inference.anchors import make_anchors
from boxcar.inference.decoders import DECODERS, find_decoder
from boxcar.inference.decoding import decode
from boxcar.inference.detections import Detections
from boxcar.inference.heads import Heads
from boxcar.inference.preprocessing import preprocess
from boxcar.inference.specification import Anchors, Specification, Thresholds
from boxcar.inference.tfjs import find_node

PROGRAM = Path(__file__).with_name("page_modules.mjs")
GOLDEN = Path(__file__).parents[1] / "golden" / "ssd_mobilenet_v2_fpnlite.npz"
LABELS = {1: "a", 2: "b", 4: "d"}  # with a gap, as a label map may have one


def node(*calls: dict[str, Any]) -> list[Any]:
    done = subprocess.run(
        [str(find_node()), str(PROGRAM)], input=json.dumps(calls), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


def text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def floats(said: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(said), "<f4").reshape(shape)


def in_javascript(specification: Specification, heads: Sequence[Heads]) -> list[Detections | str]:
    """What the page's decoder finds in each picture's heads, or the error it throws."""
    call = {
        "call": "decode",
        "specification": specification.model_dump(mode="json"),
        "heads": [{name: text(values.astype("<f4")) for name, values in one.items()} for one in heads],
    }
    (answers,) = node(call)
    assert isinstance(answers, list), answers
    return [
        answer["error"]
        if "error" in answer
        else Detections(floats(answer["boxes"], -1, 4), floats(answer["scores"], -1), np.array(answer["classes"], np.int64))
        for answer in answers
    ]


def check_same(specification: Specification, heads: Sequence[Heads]) -> list[Detections]:
    """Holds JavaScript's detections against Python's: the same ones in the same order, boxes within a thousandth of a pixel."""
    found = []
    for one, given in zip(in_javascript(specification, heads), heads, strict=True):
        wanted = decode(given, specification)
        assert isinstance(one, Detections), one
        assert one.classes.tolist() == wanted.classes.tolist()
        np.testing.assert_allclose(one.scores, wanted.scores, rtol=0, atol=1e-6)
        np.testing.assert_allclose(one.boxes, wanted.boxes, rtol=0, atol=1e-3 / specification.image_size)
        found.append(one)
    return found


def small(**thresholds: float) -> Specification:
    return Specification(architecture="any", image_size=64, labels=LABELS, thresholds=Thresholds(**thresholds))


COUNT = len(make_anchors(64, Anchors()))


def test_dense_slots_give_the_ids_of_the_label_map() -> None:
    labels = {11: "a", 578: "b", 2_000_000: "c"}
    dense = Specification(architecture="any", image_size=64, labels=labels, dense_slots=True)
    random = np.random.default_rng(0)
    heads = {
        "box_encodings": random.normal(0, 1, (COUNT, 4)).astype(np.float32),
        "class_logits": random.normal(-3, 2, (COUNT, 4)).astype(np.float32),
    }
    (found,) = check_same(dense, [heads])
    assert set(found.classes.tolist()) == set(labels)


SLOTS = small().class_slots


def random_heads(seed: int, spread: float = 1.0, ties: bool = False) -> Heads:
    random = np.random.default_rng(seed)
    encodings = random.normal(0, spread, (COUNT, 4)).astype(np.float32)
    logits = random.normal(-3, 2, (COUNT, SLOTS)).astype(np.float32)
    return named(encodings, np.round(logits) if ties else logits)


def named(encodings: np.ndarray, logits: np.ndarray) -> Heads:
    return {"box_encodings": encodings, "class_logits": logits}


@pytest.mark.parametrize("size", [64, 160, 320, 100])
@pytest.mark.parametrize("anchors", [Anchors(), Anchors(min_level=2, max_level=4, aspect_ratios=(1.5,), scales_per_octave=3)])
def test_anchors(size: int, anchors: Anchors) -> None:
    (ours,) = node({"call": "anchors", "size": size, "anchors": anchors.model_dump(mode="json")})
    wanted = make_anchors(size, anchors)
    np.testing.assert_allclose(floats(ours, -1, 4), wanted, rtol=0, atol=1e-6)


def test_the_golden_vectors() -> None:
    """The zoo architecture's heads on the golden image: what Python finds in them, which is what the API found."""
    from boxcar.detectors.catalog import build_network

    specification = Specification(
        architecture=ARCHITECTURE,
        image_size=golden_inputs.IMAGE_SIZE,
        labels=golden_inputs.LABELS,
        thresholds=Thresholds(score=1e-8),
    )
    network = build_network(specification)
    for name, variable in network.variables_by_name().items():
        variable.assign(golden_inputs.weights(name, tuple(variable.shape)))
    answers = network.model(preprocess(golden_inputs.picture(), specification)[None], training=False)
    (found,) = check_same(specification, [{name: answer.numpy()[0] for name, answer in answers.items()}])
    with np.load(GOLDEN) as golden:
        np.testing.assert_allclose(found.scores, golden["detection_scores"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "thresholds",
    [{}, {"score": 0.3}, {"iou": 0.3, "max_detections_per_class": 5}, {"max_detections": 7}, {"score": 0.0}, {"iou": 1.0}],
)
def test_random_heads(thresholds: dict[str, float]) -> None:
    found = check_same(small(**thresholds), [random_heads(seed) for seed in range(6)])
    assert all(len(one.scores) > 5 for one in found)


def test_wild_boxes() -> None:
    """Far outside the image, larger than any, without an area in it."""
    check_same(small(), [random_heads(seed, spread=40) for seed in range(6)])


def test_equal_scores_keep_python_s_order() -> None:
    """Of equals the lower class comes first, then the earlier anchor."""
    for one in check_same(small(), [random_heads(seed, ties=True) for seed in range(6)]):
        assert len(np.unique(one.scores)) < len(one.scores), "there are ties"


def test_where_nothing_is_found() -> None:
    encodings = random_heads(0)["box_encodings"]
    nothing = np.full((COUNT, SLOTS), -20, np.float32)
    background = nothing.copy()
    background[:, 0] = 20
    # Between two images with objects: nothing may be left of the one before.
    some = random_heads(1)
    given = [some, named(encodings, nothing), named(encodings, background), some]
    counts = [len(one.scores) for one in check_same(small(), given)]
    assert counts == [counts[0], 0, 0, counts[0]]
    assert counts[0] > 5


def test_one_anchor_can_be_two_things() -> None:
    logits = np.full((COUNT, SLOTS), -20, np.float32)
    logits[COUNT // 12 * 6, [1, 4]] = [3, 2]
    (found,) = check_same(small(), [named(np.zeros((COUNT, 4), np.float32), logits)])
    assert found.classes.tolist() == [1, 4]


def test_what_is_not_finite_is_refused() -> None:
    spoilt = []
    for value in (np.nan, np.inf, -np.inf):
        for name in DECODERS["boxes"].shapes(small()):
            heads = random_heads(0)
            heads[name][5, 0] = value
            spoilt.append(heads)
    assert in_javascript(small(), spoilt) == ["the heads hold values that are not finite"] * 6
    # Huge is not infinite, whatever a sum would say.
    check_same(small(), [{**random_heads(0), "class_logits": np.full((COUNT, SLOTS), -3e38, np.float32)}])


def test_what_does_not_fit_is_refused() -> None:
    encodings, logits = random_heads(0).values()
    for said in in_javascript(small(), [named(encodings[:-1], logits), named(encodings, logits[:, :-1])]):
        assert isinstance(said, str)
        assert "do not fit a detector with" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format_version": 2}, "its format_version is not 1"),
        ({"value_range": [1, 0]}, "its value_range is not"),
        ({"value_range": None}, "its value_range is not"),
        ({"task": "poses"}, "its task is poses, but this page supports only boxes"),
        ({"labels": {}}, "no labels"),
        ({"labels": {"0": "x"}}, "no labels"),
        ({"box_coder": {"y_scale": 10}}, "no number box_coder.x_scale"),
        ({"anchors": None}, "no number anchors.min_level"),
        ({"image_size": "64"}, "no number image_size"),
    ],
)
def test_a_description_that_is_none_is_refused(change: dict[str, Any], words: str) -> None:
    specification = small().model_dump(mode="json") | change
    (answer,) = node({"call": "decode", "specification": specification, "heads": []})
    assert words in answer["error"]


@pytest.mark.parametrize(
    ("height", "width", "size"), [(1, 1, 64), (1, 500, 64), (37, 53, 64), (64, 64, 64), (333, 500, 320), (1081, 719, 128)]
)
@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (-2.1, 2.6)])
def test_preprocessing(height: int, width: int, size: int, value_range: tuple[float, float]) -> None:
    """A millionth of the range apart at most, which is rounding to 32 bits here and there."""
    specification = small().model_copy(update={"image_size": size, "value_range": value_range})
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    rgba = np.concatenate([image, np.full((height, width, 1), 255, np.uint8)], axis=-1)
    call = {"call": "preprocess", "specification": specification.model_dump(mode="json")}
    (ours,) = node({**call, "data": text(rgba), "width": width, "height": height})
    atol = 1e-6 * (value_range[1] - value_range[0]) / 2
    np.testing.assert_allclose(floats(ours, size, size, 3), preprocess(image, specification), rtol=0, atol=atol)


@pytest.mark.parametrize("anchors", [Anchors(), Anchors(min_level=2, max_level=4, aspect_ratios=(1.5,), scales_per_octave=3)])
def test_both_know_the_same_outputs(anchors: Anchors) -> None:
    specification = small().model_copy(update={"anchors": anchors})
    (ours,) = node({"call": "outputs", "specification": specification.model_dump(mode="json")})
    assert {name: tuple(shape) for name, shape in ours.items()} == find_decoder(specification).shapes(specification)


def test_as_many_candidates_as_an_untrained_network_has() -> None:
    """The zoo's 12,804 anchors and 90 classes: with 300 candidates, and with a million."""
    specification = Specification(architecture="any", image_size=320, labels={90: "last"})
    count = len(make_anchors(320, specification.anchors))
    random = np.random.default_rng(0)
    encodings = random.normal(0, 1, (count, 4)).astype(np.float32)
    usual = np.full((count, 91), -8, np.float32)
    usual[random.integers(0, count, 300), random.integers(1, 91, 300)] = random.normal(1, 1, 300)
    untrained = random.normal(0, 1, usual.shape).astype(np.float32)
    few, many = check_same(specification, [named(encodings, usual), named(encodings, untrained)])
    assert len(few.scores) > 50
    assert len(many.scores) == specification.thresholds.max_detections
