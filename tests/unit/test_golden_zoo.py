"""The reference detector against the Object Detection API's own answers, on weights that follow from the variables' names.

The golden file was computed with the API itself by `make bench-golden`; test_zoo.py does the same on a whole checkpoint where
one is at hand.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import golden_inputs
import numpy as np
import pytest
from exported import ARCHITECTURE

from boxcar.inference.anchors import make_anchors
from boxcar.inference.decoding import decode
from boxcar.inference.preprocessing import preprocess
from boxcar.inference.specification import Specification, Thresholds

if TYPE_CHECKING:
    from boxcar.detectors.network import Network

GOLDEN = Path(__file__).parents[1] / "golden" / "ssd_mobilenet_v2_fpnlite.npz"
SIZE = golden_inputs.IMAGE_SIZE

Heads = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def specification() -> Specification:
    return Specification(
        architecture=ARCHITECTURE, image_size=SIZE, labels=golden_inputs.LABELS, thresholds=Thresholds(score=1e-8)
    )


@pytest.fixture(scope="module")
def network(specification: Specification) -> "Network":
    from boxcar.detectors.catalog import build_network

    network = build_network(specification)
    for name, variable in network.variables_by_name().items():
        variable.assign(golden_inputs.weights(name, tuple(variable.shape)))
    return network


@pytest.fixture(scope="module")
def heads(network: "Network", specification: Specification) -> Heads:
    answers = network.model(preprocess(golden_inputs.picture(), specification)[None], training=False)
    return {name: value.numpy()[0] for name, value in answers.items()}


def test_preprocessing(golden: dict[str, Any], specification: Specification) -> None:
    ours = preprocess(golden_inputs.picture(), specification)
    np.testing.assert_allclose(ours[::8, ::8], golden["preprocessed"], rtol=0, atol=1e-5)
    assert ours.sum(dtype=np.float64) == pytest.approx(golden["preprocessed_sum"], abs=0.01)


def test_anchors(golden: dict[str, Any], specification: Specification) -> None:
    ours = make_anchors(SIZE, specification.anchors)
    np.testing.assert_array_equal(ours[golden["anchor_index"]], golden["anchors"])  # to the last bit: rounding decides ties
    np.testing.assert_allclose(ours.sum(axis=0, dtype=np.float64), golden["anchors_sum"], rtol=1e-6)
    np.testing.assert_allclose(np.square(ours, dtype=np.float64).sum(axis=0), golden["anchors_squares"], rtol=1e-6)


def test_heads_on_every_level(golden: dict[str, Any], heads: Heads) -> None:
    index = golden["anchor_index"]
    assert all(np.isin([start, start + 6], index // 6 * 6).any() for start in (0, 2400, 3000, 3150, 3204))  # levels 3 to 7
    np.testing.assert_allclose(heads["box_encodings"][index], golden["box_encodings"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(heads["class_logits"][index], golden["class_predictions"], rtol=0, atol=1e-4)
    sums = [heads[name].sum(dtype=np.float64) for name in ("box_encodings", "class_logits")]
    np.testing.assert_allclose(sums, golden["heads_sum"], rtol=0, atol=0.1)


def test_detections(golden: dict[str, Any], heads: Heads, specification: Specification) -> None:
    ours = decode(heads, specification)
    np.testing.assert_allclose(ours.scores, golden["detection_scores"], rtol=0, atol=1e-4)
    # Two boxes whose scores are closer than the last digits may stand in either order.
    order = np.lexsort((ours.boxes.round(3)[:, 1], ours.scores.round(3)))
    wanted = np.lexsort((golden["detection_boxes"].round(3)[:, 1], golden["detection_scores"].round(3)))
    np.testing.assert_array_equal(ours.classes[order], golden["detection_classes"][wanted] + 1)  # the API counts from 0 here
    np.testing.assert_allclose(ours.boxes[order], golden["detection_boxes"][wanted], rtol=0, atol=1e-4)


def test_losses(golden: dict[str, Any], heads: Heads, network: "Network", specification: Specification) -> None:
    from boxcar.detectors.losses import detection_losses, weight_decay
    from boxcar.detectors.targets import assign_targets

    anchors = make_anchors(SIZE, specification.anchors)
    boxes, classes = assign_targets(golden_inputs.BOXES, golden_inputs.BOX_LABELS, anchors, specification.box_coder)
    losses = detection_losses(heads["box_encodings"][None], heads["class_logits"][None], boxes[None], classes[None])
    for name, ours in {**losses.parts, "regularization": weight_decay(network.regularized)}.items():
        assert float(ours) == pytest.approx(float(golden[f"loss_{name}"]), rel=1e-4), name
