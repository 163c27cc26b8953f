"""Each rule gives its advice if it applies, names its evidence, and gives none otherwise."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from boxcar.data.box_shapes import BoxShapes
from boxcar.inference.specification import Specification
from boxcar.report.advice import Advice, advise
from boxcar.report.evidence import (
    ChosenScore,
    ClassScore,
    Dataset,
    Evidence,
    ListedFault,
    ListedFile,
    Manifest,
    Score,
    SplitCounts,
    TrainingPoint,
)
from boxcar.run.step import Committed

SSD = "ssd_mobilenet_v2_fpnlite_320x320"
NARROW_DOGS = {"cat": [(0.5, 0.5, 9)], "dog": [(0.3, 0.02, 3), (0.5, 0.5, 1)]}


def evidence(
    *,
    curve: tuple[float, ...] = (0.3, 0.6, 0.75, 0.8, 0.81, 0.81),
    losses: tuple[float, ...] = (2.0, 1.0, 0.6, 0.4, 0.35, 0.33),
    ap50: float | None = 0.95,
    ap: float | None = 0.8,
    sizes: tuple[float | None, float | None, float | None] = (None, 0.8, 0.8),
    classes: dict[str, tuple[float | None, int, int]] | None = None,  # AP50, test boxes, training boxes
    pictures: int = 400,
    faults: tuple[ListedFault, ...] = (),
    files: tuple[tuple[str, float | None], ...] = (("saved_model", 0.95), ("tflite_float32", 0.95), ("tflite_int8", 0.94)),
    seconds: float = 150.0,
    rate: float = 90.0,
    image_size: int = 320,
    shapes: BoxShapes = {},  # noqa: B006 - nobody changes it
) -> Evidence:
    classes = classes or {"cat": (ap50, 80, 300), "dog": (ap50, 90, 280)}
    per_class = {name: ClassScore(AP=score, AP50=score, boxes=boxes) for name, (score, boxes, _) in classes.items()}
    splits = {
        "train": SplitCounts(pictures=pictures, boxes=580, per_class={name: count for name, (_, _, count) in classes.items()}),
        "test": SplitCounts(pictures=60, boxes=170, per_class={}),
    }
    step = 100 * (curve.index(max(curve)) + 1) if curve else 100
    common: dict[str, Any] = {"AP75": ap, "per_class": per_class}
    return Evidence(
        run=Path("run"),
        committed={"train": Committed(Path("run/train"), "train", {}, {}, {}, "0", seconds)},
        dataset=Dataset(version="v", splits=splits, faults=faults),
        specification=Specification(architecture=SSD, image_size=image_size, labels=dict(enumerate(classes, 1))),
        history=tuple(TrainingPoint(step=100 * i, loss=loss, images_per_second=rate) for i, loss in enumerate(losses, 1)),
        scores=tuple(Score(step=100 * i, AP=one, AP50=min(1, 1.18 * one), **common) for i, one in enumerate(curve, 1)),
        test=ChosenScore(
            step=step, AP=ap, AP50=ap50, AP_small=sizes[0], AP_medium=sizes[1], AP_large=sizes[2], pictures=60, **common
        ),
        manifest=Manifest(
            files=tuple(ListedFile(path=f"file-{kind}", format=kind, bytes=1, sha256="", AP50=score) for kind, score in files)
        ),
        configuration=None,
        shapes=shapes,
    )


def only(found: list[Advice]) -> Advice:
    (advice,) = found
    return advice


def test_a_good_run_needs_nothing() -> None:
    advice = only(advise(evidence()))
    assert advice.do.startswith("Try the exported files")
    assert "AP50 is 0.95 on 60 test images" in advice.because


@pytest.mark.parametrize(
    ("changes", "do", "because"),
    [
        ({"curve": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)}, "Train longer: boxcar run --from run --steps 600 --output run-more",
         "0.40 was the best up to step 400, 0.60"),
        (
            {"curve": (0.3, 0.5, 0.7, 0.6, 0.55, 0.5), "losses": (2.0, 1.0, 0.8, 0.4, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)},
            "Label more images",
            "validation AP fell from 0.70 to 0.50",
        ),
        ({"sizes": (0.2, 0.6, 0.8)}, f"Use a larger input: boxcar run --records run/records --output run-larger "
         f"--architecture {SSD.replace('320', '640')}", "score AP 0.20, the larger ones 0.80"),
        ({"sizes": (0.2, 0.6, 0.8), "image_size": 128}, f"Use a larger input: boxcar run --records run/records "
         f"--output run-larger --architecture {SSD} --image-size 256", "128 × 128"),
        ({"shapes": NARROW_DOGS, "classes": {"cat": (0.84, 80, 300), "dog": (0.7, 90, 280)}},
         "Use a larger input: boxcar run --records run/records",
         "“dog” has AP50 0.70, and 75% of its boxes have a side of less than 8 pixels at the network’s input."),
        ({"ap": 0.5}, "If the boxes must fit tightly, train longer: boxcar run --from run --steps 600 --output run-more",
         "AP, which requires tight boxes, is only 0.50"),
        ({"classes": {"cat": (0.95, 80, 300), "<dog>": (0.5, 90, 12)}}, "Label more images with “<dog>”",
         "Its AP50 is 0.50, compared with 0.95 for the others, and it has 12 boxes to train on; the others have 300."),
        ({"classes": {"cat": (0.95, 80, 300), "dog": (None, 0, 1)}}, "Label more images with “dog”",
         "It has 1 box to train on"),
        ({"files": (("saved_model", 0.95), ("tflite_float32", 0.95), ("tflite_int8", 0.8))},
         "Prefer file-tflite_float32 to file-tflite_int8 if accuracy matters", "Its AP50 is 0.80; the model's is 0.95"),
        ({"files": (("saved_model", 0.95), ("tflite_int8", 0.8))}, "Prefer file-saved_model to file-tflite_int8", "0.80"),
        ({"seconds": 7200, "rate": 9.0}, "Train on a GPU", "Training took 120 minutes at 9.0 images per second"),
        ({"faults": (ListedFault(file="a.xml", reason="not well-formed", done="left out"),)},
         "Fix the files listed", "a.xml could not be used as it was: not well-formed."),
        ({"classes": {"cat": (0.95, 5, 300), "dog": (0.95, 6, 300)}}, "Treat the scores as rough", "scores come from 11 boxes"),
        ({"curve": (0.6, 0.8, 0.85, 0.86, 0.86, 0.86), "ap50": 0.8, "classes": {"cat": (0.86, 60, 300)}},
         "Compare the test images with the others", "but 0.80 on the test images"),
    ],
)  # fmt: skip
def test_each_rule_gives_its_advice(changes: dict[str, Any], do: str, because: str) -> None:
    found = [advice for advice in advise(evidence(**changes)) if advice.do.startswith(do)]
    assert because in only(found).because
    # Each of these runs has one problem, and some have a low score because of it.
    assert len(advise(evidence(**changes))) <= 2


@pytest.mark.parametrize(
    "changes",
    [
        {"shapes": NARROW_DOGS},  # found nevertheless
        {"shapes": NARROW_DOGS, "classes": {"cat": (0.84, 80, 300), "dog": (0.7, 90, 280)}, "image_size": 640},
        {"shapes": {"dog": [(0.5, 0.5, 9)]}, "classes": {"cat": (0.84, 80, 300), "dog": (0.7, 90, 280)}},
        {"shapes": {"gone": [(0.01, 0.01, 9)]}},
        {"sizes": (0.2, 0.6, 0.8), "image_size": 640},
    ],
)
def test_a_larger_input_is_no_advice_where_it_would_not_help(changes: dict[str, Any]) -> None:
    assert not [advice for advice in advise(evidence(**changes)) if advice.do.startswith("Use a larger input")]


def test_the_command_for_a_larger_input_is_quoted_for_a_shell() -> None:
    found = replace(evidence(sizes=(0.2, 0.6, 0.8)), run=Path("my runs/it's"))
    (advice,) = [advice for advice in advise(found) if advice.do.startswith("Use a larger input")]
    words = shlex.split(advice.do.removeprefix("Use a larger input: "))
    assert words[:6] == ["boxcar", "run", "--records", "my runs/it's/records", "--output", "my runs/it's-larger"]


def test_the_command_to_train_longer_names_a_folder_that_is_free(tmp_path: Path) -> None:
    rising = replace(evidence(curve=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)), run=tmp_path / "my run")
    for name in ("my run-more", "my run-more-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    words = shlex.split(advise(rising)[0].do.removeprefix("Train longer: "))
    assert words == ["boxcar", "run", "--from", f"{tmp_path}/my run", "--steps", "600", "--output", f"{tmp_path}/my run-more-3"]


def test_a_run_whose_start_is_its_best_checkpoint_says_so() -> None:
    found = evidence(curve=(0.8, 0.7, 0.72, 0.71), losses=(0.5, 0.4, 0.3, 0.2))
    scores = tuple(score.model_copy(update={"step": score.step - 100}) for score in found.scores)
    found = replace(found, scores=scores, test=found.test.model_copy(update={"step": 0}))
    advice = only(advise(found))
    assert advice.do == "Keep the detector that this run started from, and label more images"
    assert "AP of 0.80 is the highest of this run; the best after it is 0.72." in advice.because


def test_advice_on_too_few_boxes_is_given_once() -> None:
    classes: dict[str, tuple[float | None, int, int]] = {"a": (0.7, 40, 62), "b": (0.35, 40, 66), "c": (0.65, 40, 56)}
    found = advise(evidence(ap50=0.6, ap=0.4, curve=(0.1, 0.3, 0.35, 0.45), classes=classes, pictures=77))
    assert [advice.do for advice in found] == [
        "Train longer: boxcar run --from run --steps 600 --output run-more",
        "Label more images with “b”",
        "Label more images",
    ]
    assert "No class has more than 66 boxes" in found[2].because


def test_a_mediocre_run_that_leveled_off_needs_images_or_a_heavier_model() -> None:
    middling = {"curve": (0.3, 0.45, 0.5, 0.5, 0.5, 0.5), "ap50": 0.6, "ap": 0.5}
    assert "Label more images" in [advice.do for advice in advise(evidence(**middling, pictures=120))]
    assert "Try a larger input or a heavier architecture" in [
        advice.do for advice in advise(evidence(**middling, pictures=900))
    ]


def test_a_run_that_learned_nothing_gets_that_advice_first_and_none_on_files() -> None:
    found = advise(evidence(ap50=0.02, ap=0.01, curve=(0.0, 0.01), files=(("saved_model", 0.02), ("tflite_int8", 0.0))))
    assert found[0].do == "Check the ground truth in the images below, then train longer"
    assert "400 training images for 600 steps" in found[0].because
    assert not [advice for advice in found if advice.do.startswith("Prefer")]
    assert not [advice for advice in found if "“" in advice.do]


@pytest.mark.parametrize(
    "changes",
    [
        {"curve": (0.5, 0.8, 0.85, 0.9, 0.93, 0.95)},  # still rising, but with little left to gain
        {"curve": (0.1, 0.9)},  # too few checkpoints for a trend
        {"sizes": (0.1, 0.8, 0.8), "image_size": 640},  # the largest input
        {"seconds": 7200, "rate": 400.0},  # on a GPU
        {"seconds": 600, "rate": 9.0},  # slow, but short
        {"classes": {"cat": (0.95, 80, 300), "dog": (0.95, 80, 20)}},  # few boxes are enough if the score is good
    ],
)
def test_no_rule_applies_if_nothing_can_be_gained(changes: dict[str, Any]) -> None:
    assert only(advise(evidence(**changes))).do.startswith("Try the exported files")


def test_an_empty_run_breaks_no_rule() -> None:
    assert advise(evidence(curve=(), losses=(), ap50=None, ap=None, files=(), classes={"cat": (None, 0, 0)}))
