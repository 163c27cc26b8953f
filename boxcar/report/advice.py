"""Advice on what to do next, from a run's curves and counts. Each rule names its evidence.

The thresholds are rules of thumb. They are chosen so that a rule gives advice only if it is likely to help.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from boxcar.data.box_shapes import NARROW, narrowest_class
from boxcar.detectors.catalog import larger_input
from boxcar.report.evidence import Evidence, ListedFile, Score
from boxcar.report.next_run import larger_run, longer_run

FEW_BOXES = 100  # of a class, to train on
FEW_TEST_BOXES = 50  # below this, one box more or less moves the scores visibly
GOOD, LEARNED = 0.85, 0.1  # AP50 from which a detector is good, and below which it has learned almost nothing
LONG_TRAINING_SECONDS = 45 * 60
SLOW_IMAGES_PER_SECOND = 25.0  # a CPU; GPUs do hundreds


@dataclass(frozen=True)
class Advice:
    """One thing to do."""

    do: str  # an imperative, without a period
    because: str  # the evidence in this run; whole sentences


def advise(evidence: Evidence) -> list[Advice]:
    """The advice for a run, the most useful first. If no rule applies, one entry says that nothing needs attention."""
    rules: tuple[Callable[[Evidence], Iterator[Advice]], ...] = (
        _not_chosen,
        _nothing_learned,
        _skipped_files,
        _no_gain,
        _still_rising,
        _overfitting,
        _unlike_validation,
        _weak_classes,
        _few_boxes,
        _small_boxes,
        _loose_boxes,
        _plateau,
        _weaker_files,
        _slow_training,
        _rough_scores,
    )
    # If two rules give the same advice, the first one counts.
    found: dict[str, Advice] = {}
    for rule in rules:
        for advice in rule(evidence):
            found.setdefault(advice.do, advice)
    return list(found.values()) or [_all_fine(evidence)]


def _not_chosen(evidence: Evidence) -> Iterator[Advice]:
    if evidence.chosen is not None and evidence.chosen.AP is None:
        yield Advice(
            "Label objects in the validation images",
            f"No validation image contains an object, so no checkpoint could be scored. The last one, of step "
            f"{evidence.test.step:,}, was exported, whether or not it is the best.",
        )


def _nothing_learned(evidence: Evidence) -> Iterator[Advice]:
    if evidence.test.AP50 is not None and evidence.test.AP50 < LEARNED:
        images = evidence.dataset.splits["train"].pictures
        yield Advice(
            "Check the ground truth in the images below, then train longer",
            f"AP50 on the test images is {_score(evidence.test.AP50)}: the detector detects almost nothing yet. It saw "
            f"{images:,} training images for {_last_step(evidence):,} steps. Common causes are too few steps and labeled "
            "boxes that do not match their objects.",
        )


def _skipped_files(evidence: Evidence) -> Iterator[Advice]:
    faults = evidence.dataset.faults
    if faults:
        yield Advice(
            "Fix the files listed under “Left out or changed”",
            f"{faults[0].file} could not be used as it was: {faults[0].reason}."
            if len(faults) == 1
            else f"{len(faults):,} files could not be used as they were. The first is {faults[0].file}: {faults[0].reason}.",
        )


def _no_gain(evidence: Evidence) -> Iterator[Advice]:
    scores = _judged(evidence)
    if evidence.test.step == 0 and len(scores) > 1:
        yield Advice(
            "Keep the detector that this run started from, and label more images",
            f"Its validation AP of {_ap(scores[0]):.2f} is the highest of this run; the best after it is "
            f"{max(map(_ap, scores[1:])):.2f}. So the exported files have the weights that training started from.",
        )


def _still_rising(evidence: Evidence) -> Iterator[Advice]:
    scores = _judged(evidence)
    if len(scores) < 4 or _falls_at_the_end(scores):
        return
    cut = len(scores) * 2 // 3
    before, after = max(_ap(score) for score in scores[:cut]), max(_ap(score) for score in scores[cut:])
    if after - before > 0.03 and after < 0.9:
        yield Advice(
            f"Train longer: {longer_run(evidence.run, _last_step(evidence))}",
            f"Validation AP was still rising when training ended: {before:.2f} was the best up to step "
            f"{scores[cut - 1].step:,}, {after:.2f} after it.",
        )


def _overfitting(evidence: Evidence) -> Iterator[Advice]:
    scores = _judged(evidence)
    losses = [point.loss for point in evidence.history]
    if len(scores) < 4 or len(losses) < 4 or not _falls_at_the_end(scores):
        return
    best = max(scores, key=_ap)
    at_best = [point.loss for point in evidence.history if point.step <= best.step][-5:]
    if not at_best or median(losses[-5:]) > 0.95 * median(at_best):
        return
    yield Advice(
        "Label more images",
        f"The detector starts to overfit: after step {best.step:,}, the training loss continued to fall "
        f"({median(at_best):.2f} to {median(losses[-5:]):.2f}), while validation AP fell from {_ap(best):.2f} to "
        f"{_ap(scores[-1]):.2f}. The checkpoint of step {evidence.test.step:,} was kept, so nothing is lost. Longer "
        "training will not help; more images will.",
    )


def _unlike_validation(evidence: Evidence) -> Iterator[Advice]:
    chosen = evidence.chosen
    if chosen is None or chosen.AP50 is None or evidence.test.AP50 is None:
        return
    if chosen.AP50 - evidence.test.AP50 > 0.1:
        yield Advice(
            "Compare the test images with the others, and label more like them",
            f"AP50 is {chosen.AP50:.2f} on the validation images but {evidence.test.AP50:.2f} on the test images: "
            "they show something that is rare in the training images.",
        )


def _weak_classes(evidence: Evidence) -> Iterator[Advice]:
    counts = evidence.dataset.splits["train"].per_class
    scores = {name: score.AP50 for name, score in evidence.test.per_class.items()}
    for name, score in scores.items():
        boxes = counts.get(name, 0)
        if score is None:
            yield Advice(
                f"Label more images with “{name}”",
                f"No test image shows this class, so its accuracy is unknown. It has "
                f"{_many(boxes, 'box', 'boxes')} to train on.",
            )
            continue
        others = [other for key, other in scores.items() if key != name and other is not None]
        if score < GOOD and others and median(others) - score > 0.15:
            yield Advice(
                f"Label more images with “{name}”",
                f"Its AP50 is {score:.2f}, compared with {median(others):.2f} for the others, and it has "
                f"{_many(boxes, 'box', 'boxes')} to train on{_others_have(counts, name)}.",
            )


def _few_boxes(evidence: Evidence) -> Iterator[Advice]:
    counts = evidence.dataset.splits["train"].per_class.values()
    if counts and max(counts) < FEW_BOXES and LEARNED <= (evidence.test.AP50 or 0.0) < GOOD:
        yield Advice(
            "Label more images",
            f"No class has more than {_many(max(counts), 'box', 'boxes')} to train on. With {FEW_BOXES} or more, a detector "
            "usually finds much more.",
        )


def _small_boxes(evidence: Evidence) -> Iterator[Advice]:
    options, size = larger_input(evidence.specification), evidence.specification.image_size
    if options is None:
        return
    because = _why_larger(evidence)
    if because is not None:
        yield Advice(
            f"Use a larger input: {larger_run(evidence.run, options)}",
            f"{because} Every image is scaled to {size} × {size} pixels first, which affects small objects most. Training "
            "time grows in proportion to the number of pixels.",
        )


def _why_larger(evidence: Evidence) -> str | None:
    test = evidence.test
    narrow = narrowest_class(evidence.shapes, evidence.specification.image_size)
    if narrow is not None:
        name, share = narrow
        score = test.per_class[name].AP50 if name in test.per_class else None
        if score is not None and score < GOOD:
            return (
                f"“{name}” has AP50 {score:.2f}, and {share:.0%} of its boxes have a side of less than {NARROW} pixels at the "
                "network’s input."
            )
    larger = test.AP_large if test.AP_large is not None else test.AP_medium
    if test.AP_small is None or larger is None or larger - test.AP_small <= 0.2:
        return None
    return f"Small objects (under 32 × 32 pixels) score AP {test.AP_small:.2f}, the larger ones {larger:.2f}."


def _loose_boxes(evidence: Evidence) -> Iterator[Advice]:
    test = evidence.test
    if test.AP is None or test.AP50 is None or test.AP50 < GOOD or test.AP >= 0.6 * test.AP50:
        return
    if next(_still_rising(evidence), None) is None:
        yield Advice(
            f"If the boxes must fit tightly, train longer: {longer_run(evidence.run, _last_step(evidence))}",
            f"AP50 is {test.AP50:.2f} but AP, which requires tight boxes, is only {test.AP:.2f}: objects are found, but "
            "their boxes do not fit exactly. Tight boxes come last in training. Also check that the labeled boxes are tight.",
        )


def _plateau(evidence: Evidence) -> Iterator[Advice]:
    scores = _judged(evidence)
    score = evidence.test.AP50
    if score is None or not LEARNED <= score < GOOD or len(scores) < 4 or _falls_at_the_end(scores):
        return
    if next(_still_rising(evidence), None) is not None:
        return
    images = evidence.dataset.splits["train"].pictures
    because = f"Validation AP has leveled off at {max(map(_ap, scores)):.2f}; more steps will have little effect."
    if images < 500:
        yield Advice(
            "Label more images", f"{because} It has {images:,} images to train on; a few hundred more would help most."
        )
    else:
        yield Advice(
            "Try a larger input or a heavier architecture",
            f"{because} With {images:,} training images, the limit may be the network, not the data.",
        )


def _weaker_files(evidence: Evidence) -> Iterator[Advice]:
    model = next((file for file in evidence.manifest.files if file.format == "saved_model"), None)
    if model is None or model.AP50 is None or model.AP50 < LEARNED:
        return
    judged = [file for file in evidence.manifest.files if file.AP50 is not None]
    weaker = [file for file in judged if model.AP50 - (file.AP50 or 0.0) > 0.03]
    # The SavedModel is never weaker than itself, so there is at least one.
    better = min((file for file in judged if file not in weaker), key=_phone_rank)
    for file in weaker:
        yield Advice(
            f"Prefer {better.path} to {file.path} if accuracy matters",
            f"Its AP50 is {file.AP50:.2f}; the model's is {model.AP50:.2f} on the same images. The difference is lost in "
            f"{file.format}.",
        )


def _slow_training(evidence: Evidence) -> Iterator[Advice]:
    seconds = evidence.training_seconds
    rates = [point.images_per_second for point in evidence.history if point.images_per_second is not None]
    if seconds > LONG_TRAINING_SECONDS and rates and median(rates) < SLOW_IMAGES_PER_SECOND:
        yield Advice(
            "Train on a GPU",
            f"Training took {seconds / 60:.0f} minutes at {median(rates):.1f} images per second, which is the rate of "
            "a CPU. A GPU is many times faster.",
        )


def _rough_scores(evidence: Evidence) -> Iterator[Advice]:
    boxes = sum(score.boxes for score in evidence.test.per_class.values())
    if evidence.test.AP50 is not None and boxes < FEW_TEST_BOXES:
        yield Advice(
            "Treat the scores as rough, and label more test images",
            f"The scores come from {_many(boxes, 'box', 'boxes')} in {_many(evidence.test.pictures, 'image')}: one detected "
            f"object more or less changes AP50 by about {1 / boxes:.2f}.",
        )


def _all_fine(evidence: Evidence) -> Advice:
    return Advice(
        "Try the exported files on images from the place where they will be used",
        f"Nothing in this run needs attention: AP50 is {_score(evidence.test.AP50)} on {evidence.test.pictures:,} test images, "
        "no class lags behind, and every exported file is as accurate as the model.",
    )


def _judged(evidence: Evidence) -> list[Score]:
    return [score for score in evidence.scores if score.AP is not None]


def _ap(score: Score) -> float:
    return score.AP or 0.0


def _falls_at_the_end(scores: Sequence[Score]) -> bool:
    """Whether the best score is well before the end and clearly above the last one."""
    best = max(scores, key=_ap)
    return best.step <= 0.75 * scores[-1].step and _ap(best) - _ap(scores[-1]) > 0.03


def _last_step(evidence: Evidence) -> int:
    return max([point.step for point in evidence.history] + [score.step for score in evidence.scores], default=0)


def _others_have(counts: dict[str, int], name: str) -> str:
    others = [count for key, count in counts.items() if key != name]
    if not others or median(others) <= counts.get(name, 0):
        return ""
    return f"; the others have {median(others):,.0f}"


def _phone_rank(file: ListedFile) -> int:
    """0 for a TFLite file, which can replace another TFLite file."""
    return 0 if file.format.startswith("tflite") else 1 if file.format.startswith("tfjs") else 2


def _score(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _many(count: int, singular: str, plural: str | None = None) -> str:
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
