"""Scores are held to pycocotools, the protocol's own program."""

import contextlib
import io
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scoring_cases import LABELS, NOTHING_FOUND, ODD_CASES, TWO, detections, random_case, truth

from boxcar.inference.boxes import iou_matrix
from boxcar.inference.detections import Detections
from boxcar.scoring import GroundTruth, match, score

# In the order of pycocotools' stats.
STATISTICS = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip


def by_pycocotools(truths, found, labels):
    """The twelve statistics and each id's (AP, AP50), as pycocotools gives them: -1 where there is no ground truth."""
    annotations, results = [], []
    for image, (picture, answer) in enumerate(zip(truths, found, strict=True), 1):
        scale = np.array([picture.height, picture.width] * 2, np.float64)
        for box, label, crowd in zip(picture.boxes, picture.labels, picture.is_crowd, strict=True):
            ymin, xmin, ymax, xmax = np.rint(box * scale).tolist()  # every labelled box lies on whole pixels
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image, "category_id": int(label), "iscrowd": int(crowd),
                    "bbox": [xmin, ymin, xmax - xmin, ymax - ymin], "area": (xmax - xmin) * (ymax - ymin),
                }
            )  # fmt: skip
        for box, one_score, label in zip(answer.boxes, answer.scores, answer.classes, strict=True):
            ymin, xmin, ymax, xmax = (box * scale).tolist()
            bbox = [xmin, ymin, xmax - xmin, ymax - ymin]
            results.append({"image_id": image, "category_id": int(label), "bbox": bbox, "score": float(one_score)})
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "info": {},
            "images": [{"id": i, "width": t.width, "height": t.height} for i, t in enumerate(truths, 1)],
            "annotations": annotations,
            "categories": [{"id": label, "name": name} for label, name in labels.items()],
        }
        reference.createIndex()
        if results:
            answers = reference.loadRes(results)
        else:  # loadRes of an empty list fails
            answers = COCO()
            answers.dataset = reference.dataset | {"annotations": []}
            answers.createIndex()
        evaluation = COCOeval(reference, answers, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]

    def mean(values):
        return values[values > -1].mean() if (values > -1).any() else -1

    return (
        dict(zip(STATISTICS, evaluation.stats, strict=True)),
        {label: (mean(precision[:, :, k]), mean(precision[0, :, k])) for k, label in enumerate(sorted(labels))},
    )


def assert_equal_to_pycocotools(truths, found, labels):
    ours = score(truths, found, labels)
    statistics, per_class = by_pycocotools(truths, found, labels)
    for name, wanted in statistics.items():
        assert (-1 if ours[name] is None else ours[name]) == pytest.approx(wanted, abs=1e-6), name
    assert len(ours["per_class"]) == len(labels)
    for (name, entry), label in zip(ours["per_class"].items(), sorted(labels), strict=True):
        assert name.startswith(labels[label])
        answer = tuple(-1 if entry[key] is None else entry[key] for key in ("AP", "AP50"))
        assert answer == pytest.approx(per_class[label], abs=1e-6), name
        assert entry["boxes"] == sum(int(((t.labels == label) & ~t.is_crowd).sum()) for t in truths)
    return ours


@pytest.mark.parametrize("block", range(10))
def test_random_cases_score_as_pycocotools_does(block):
    measured = 0
    for seed in range(block * 30, block * 30 + 30):
        ours = assert_equal_to_pycocotools(*random_case(seed))
        measured += ours["AP"] is not None and 0.05 < ours["AP"] < 0.95
    assert measured >= 15  # the cases are hard enough to tell one scorer from another


@pytest.mark.parametrize("case", ODD_CASES)
def test_odd_cases_score_as_pycocotools_does(case):
    assert_equal_to_pycocotools(*ODD_CASES[case], LABELS)


def test_what_has_no_ground_truth_says_so():
    ours = score([TWO], [NOTHING_FOUND], LABELS)
    assert ours["AP"] == 0.0
    assert ours["AP_small"] is None
    assert ours["per_class"]["spoon"] == {"AP": 0.0, "AP50": 0.0, "boxes": 1}
    assert ours["per_class"]["knife"] == {"AP": None, "AP50": None, "boxes": 0}
    assert {type(value) for key, value in ours.items() if key != "per_class"} <= {float, type(None)}


def test_classes_of_one_name_are_kept_apart():
    ours = assert_equal_to_pycocotools(
        [TWO], [detections([[10, 10, 110, 110]], [0.9], [2])], {2: "fork", 5: "fork", 7: "fork (id 5)"}
    )
    assert list(ours["per_class"]) == ["fork", "fork (id 5)", "fork (id 5) (id 7)"]
    assert [entry["AP"] for entry in ours["per_class"].values()] == [pytest.approx(1), 0, None]


def test_coordinates_that_went_through_float32_keep_their_size_class():
    # 32 pixels of 331 come back from float32 as a little more or less; COCO counts 32 by 32 as small and as medium.
    for left in range(40):
        ours = score(
            [truth([[left, left, left + 32, left + 32]], [2], size=(331, 4093))],
            [detections([[left, left, left + 32, left + 32]], [0.9], [2], size=(331, 4093))],
            LABELS,
        )
        assert [ours["AP_small"], ours["AP_medium"]] == pytest.approx([1, 1])


def test_scoring_is_silent(capfd):
    score([TWO], [NOTHING_FOUND], LABELS)
    assert capfd.readouterr() == ("", "")


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(ValueError, match="ground truth for 1 images, but there are detections for 0"):
        score([TWO], [], LABELS)
    with pytest.raises(ValueError, match="no id 5"):
        score([TWO], [NOTHING_FOUND], {2: "fork"})
    with pytest.raises(ValueError, match="no id 3"):
        score([TWO], [detections([[1, 1, 2, 2]], [0.5], [3])], LABELS)
    with pytest.raises(ValueError, match="0 by 240"):
        GroundTruth(0, 240, TWO.boxes, TWO.labels, TWO.is_crowd)
    with pytest.raises(ValueError, match="not finite"):
        GroundTruth(320, 240, TWO.boxes * np.float32("nan"), TWO.labels, TWO.is_crowd)
    with pytest.raises(ValueError, match="labels"):
        GroundTruth(320, 240, TWO.boxes, TWO.labels[:1], TWO.is_crowd)


@pytest.mark.parametrize(
    ("boxes", "scores", "classes", "message"),
    [
        (np.zeros((2, 4)), [0.5], [1], r"\(2, 4\)"),
        (np.zeros((1, 4)), [math.nan], [1], "not finite"),
        (np.full((1, 4), math.inf), [0.5], [1], "not finite"),
        (np.zeros((1, 4)), [0.5], [0], "class 0"),
        (np.zeros((2, 4)), [0.4, 0.5], [1, 1], "descending"),
    ],
)
def test_detections_that_cannot_be_are_refused(boxes, scores, classes, message):
    with pytest.raises(ValueError, match=message):
        Detections(boxes.astype(np.float32), np.array(scores, np.float32), np.array(classes, np.int64))


def test_iou():
    a = np.array([[0, 0, 2, 2], [0, 0, 0, 0], [3, 3, 1, 1]], np.float32)
    b = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [0, 1, 2, 2], [5, 5, 6, 6], [0, 0, 0, 0]], np.float32)
    ious = iou_matrix(a, b)
    assert ious.dtype == np.float32
    np.testing.assert_allclose(ious, [[1, 1 / 7, 0.5, 0, 0], [0] * 5, [0] * 5], rtol=1e-6)
    assert iou_matrix(a[:0], b).shape == (0, 5)
    assert iou_matrix(a, b[:0]).shape == (3, 0)


def test_matching_takes_each_detection_once_best_score_first():
    reference = detections([[0, 0, 100, 100], [0, 0, 100, 90], [0, 0, 9, 9]], [0.9, 0.8, 0.2], [1, 1, 1])
    other = detections([[0, 0, 100, 80], [0, 0, 100, 95]], [0.7, 0.25], [1, 1])
    found = match(reference, other)
    assert found.reference.tolist() == [0, 1]  # the third scores below 0.3
    assert found.other.tolist() == [1, 0]
    np.testing.assert_allclose(found.iou, [0.95, 80 / 90], rtol=1e-5)
    np.testing.assert_allclose(found.score_difference, [0.25 - 0.9, 0.7 - 0.8], rtol=1e-5)


def test_matching_leaves_other_classes_and_distant_boxes_alone():
    reference = detections([[0, 0, 50, 50], [100, 100, 150, 150]], [0.9, 0.8], [1, 2])
    other = detections([[0, 0, 50, 50], [0, 0, 50, 50]], [0.9, 0.8], [2, 3])
    found = match(reference, other)
    assert found.other.tolist() == [-1, -1]
    assert found.iou.tolist() == [0, 0]
    np.testing.assert_allclose(found.score_difference, [-0.9, -0.8], rtol=1e-6)
    nothing = match(reference, NOTHING_FOUND)
    assert nothing.other.tolist() == [-1, -1]
    assert len(match(NOTHING_FOUND, other).iou) == 0


def test_a_detector_matches_itself():
    found = [one for seed in range(5) for one in random_case(seed)[1]]
    assert sum(len(one.scores) for one in found) > 20
    for one in found:
        again = match(one, one, min_score=0.0)
        solid = np.prod(one.boxes[:, 2:] - one.boxes[:, :2], axis=1) > 0
        assert (again.other[solid] == again.reference[solid]).all()
        assert (again.iou[solid] == 1).all()
        assert (again.score_difference[solid] == 0).all()
