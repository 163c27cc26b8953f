"""The gate's decision, computed from detections. Nothing here reads a file or runs a detector."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from boxcar.config.gate_settings import GateSettings
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.detections import Detections
from boxcar.registry.held_out import FEWEST_PICTURES, shortage
from boxcar.scoring import Difference, GroundTruth, ap50_difference, has_scored_object, one_sided, score

Verdict = Literal["promoted", "kept", "undecided"]


class Measured(NamedTuple):
    """What one version detects on the test images, and its cost."""

    labels: Mapping[int, str]
    detections: Sequence[Detections]  # one per image, in the split's order
    milliseconds: float  # per image, from preprocessed pixels to detections, the median
    megabytes: float


class Decided(NamedTuple):
    """A decision and its numbers.

    Attributes:
        verdict: `promoted`, `kept`, or `undecided`. In the last two the champion stays.
        reason: in a sentence.
        difference: the challenger's AP50 minus the champion's, with one-sided bounds; None if there is no champion.
        pictures_needed: the number of test images that would be enough to decide; None if none is needed or none would be.
        classes: the classes that were compared.
        new_classes, lost_classes: classes that only the challenger knows, and that only the champion knows.
        broken: the floors and limits that the challenger does not meet, a sentence each.
        scores: of the challenger and of the champion (None without one) on these classes, as `scoring.score` returns them.
    """

    verdict: Verdict
    reason: str
    difference: Difference | None
    pictures_needed: int | None
    classes: tuple[str, ...]
    new_classes: tuple[str, ...]
    lost_classes: tuple[str, ...]
    broken: tuple[str, ...]
    scores: tuple[dict[str, Any], dict[str, Any] | None]


def decide(
    truths: Sequence[GroundTruth],
    labels: Mapping[int, str],
    challenger: Measured,
    champion: Measured | None,
    settings: GateSettings,
    *,
    unchanged: bool = False,
    seed: int = 0,
) -> Decided:
    """Compares a challenger with the champion.

    Args:
        truths: the ground truth of the test images.
        labels: its class names by id.
        challenger, champion: what the versions detect on these images; None if there is no champion.
        settings: the gate's requirements.
        unchanged: whether the challenger has the champion's weights and classes. It is kept then: there is nothing to ship.
        seed: of the bootstrap.

    Raises:
        BoxcarError: 64 for a floor of a class that the challenger does not know; 65 if an id means two classes, because users
            of the champion would get wrong names.
    """
    _check_ids(labels, challenger, champion)
    known = set(challenger.labels.values())
    before = known if champion is None else set(champion.labels.values())
    new, lost = tuple(sorted(known - before)), tuple(sorted(before - known))
    shared = {label: name for label, name in labels.items() if name in known & before}
    own = _of_classes(challenger, labels)
    # Floors apply to every class in the test images, even if the champion does not know it.
    floors = score([_only(truth, labels) for truth in truths], own, labels)["per_class"]
    broken = tuple(_broken(challenger, floors, settings))
    common = [_only(truth, shared) for truth in truths]
    ours = _of_classes(challenger, shared)
    theirs = None if champion is None else _of_classes(champion, shared)
    scores = (score(common, ours, shared), None if theirs is None else score(common, theirs, shared))
    difference = None
    if theirs is not None:
        wide = one_sided(settings.confidence, len(truths))
        difference = ap50_difference(common, theirs, ours, shared, confidence=wide, seed=seed)
    with_objects = sum(map(has_scored_object, common))
    verdict, reason, needed = _judge(difference, broken, new, lost, len(truths), with_objects, settings)
    if unchanged and not broken:
        verdict, needed = "kept", None
        reason = "Training did not improve on the champion, so this version has its weights."
    return Decided(verdict, reason, difference, needed, tuple(shared.values()), new, lost, broken, scores)


def _judge(
    difference: Difference | None,
    broken: Sequence[str],
    new: Sequence[str],
    lost: Sequence[str],
    pictures: int,
    with_objects: int,
    settings: GateSettings,
) -> tuple[Verdict, str, int | None]:
    if broken:
        return "kept", " ".join(broken), None
    if difference is None:
        return "promoted", " ".join(filter(None, ("There is no champion yet.", shortage(with_objects)))), None
    if difference.point is None or difference.low is None or difference.high is None:
        return "undecided", "The test images contain no object of a class that both versions know.", None
    if with_objects < FEWEST_PICTURES:
        few = f"{with_objects} test images contain an object of a class that both know. At least {FEWEST_PICTURES} are needed."
        return "undecided", few, FEWEST_PICTURES
    said = f"AP50 differs by {difference.point:+.4f}"
    sure = f"with {settings.confidence:.4g} confidence"
    if difference.low > settings.min_gain:
        if (new or lost) and not settings.accept_new_classes:
            words = [f"it also knows {', '.join(new)}"] * bool(new) + [f"it does not know {', '.join(lost)}"] * bool(lost)
            changed = " and ".join(words)
            return "undecided", f"{said}, but {changed}, and --accept-new-classes is not set.", None
        return "promoted", f"{said}, at least {difference.low:+.4f} {sure}: above {settings.min_gain:+.4g}.", None
    if difference.high <= settings.min_gain:
        return "kept", f"{said}, at most {difference.high:+.4f} {sure}: not above {settings.min_gain:+.4g}.", None
    needed = pictures_needed(difference, pictures, settings.min_gain)
    enough = "no number of images would be enough" if needed is None else f"about {needed} would be enough"
    range_text = f"is between {difference.low:+.4f} and {difference.high:+.4f}, each {sure}"
    too_few = f"{pictures} test images do not show whether it is above {settings.min_gain:+.4g}, {enough}."
    return "undecided", f"{said} and {range_text}: {too_few}", needed


def pictures_needed(difference: Difference, pictures: int, min_gain: float) -> int | None:
    """How many test images would be enough for the same difference: bounds shrink with the square root of the number."""
    assert difference.point is not None and difference.low is not None and difference.high is not None, difference
    distance = difference.point - min_gain
    if distance == 0:
        return None
    width = difference.point - difference.low if distance > 0 else difference.high - difference.point
    return max(pictures + 1, math.ceil(pictures * (width / distance) ** 2))


def _broken(challenger: Measured, per_class: Mapping[str, Any], settings: GateSettings) -> list[str]:
    """The floors and limits that the challenger does not meet, a sentence each."""
    found = []
    for name, floor in settings.class_floors.items():
        if name not in challenger.labels.values():
            known = ", ".join(challenger.labels.values())
            what = f"--class-floor names {name}, but the challenger knows only {known}."
            raise BoxcarError(ExitCode.USAGE, what, "Correct --class-floor.")
        ap50 = per_class.get(name, {}).get("AP50")
        if ap50 is None:
            found.append(f"The test images contain no {name}, so its floor of {floor:.4g} cannot be checked.")
        elif ap50 < floor:
            found.append(f"AP50 of {name} is {ap50:.4f}, below its floor of {floor:.4g}.")
    if settings.max_milliseconds is not None and challenger.milliseconds > settings.max_milliseconds:
        found.append(f"One image takes {challenger.milliseconds:.4g} ms, above the limit of {settings.max_milliseconds:.4g}.")
    if settings.max_megabytes is not None and challenger.megabytes > settings.max_megabytes:
        found.append(f"The file has {challenger.megabytes:.4g} MB, above the limit of {settings.max_megabytes:.4g}.")
    return found


def _check_ids(labels: Mapping[int, str], challenger: Measured, champion: Measured | None) -> None:
    others = {"the held-out test split": labels, **({} if champion is None else {"the champion": champion.labels})}
    own = dict(challenger.labels)
    for whose, other in others.items():
        # Ids that mean another class in the challenger, and classes that have another id there.
        shifted = {label for label, name in other.items() if own.get(label, name) != name}
        shifted |= {label for label, name in other.items() if name in own.values() and own.get(label) != name}
        for label in sorted(shifted):
            is_now = own.get(label, "none")
            raise BoxcarError(
                ExitCode.DATA,
                f"Id {label} is {other[label]} in {whose} and {is_now} in the challenger.",
                "Build the records with the champion's label map (--label-map), so that ids do not shift, and train again.",
            )


def _of_classes(measured: Measured, classes: Mapping[int, str]) -> list[Detections]:
    """The detections of these classes, with the test split's ids."""
    ids = {name: label for label, name in classes.items()}
    own = np.array(sorted(measured.labels))
    renamed = np.array([ids.get(measured.labels[label], 0) for label in own.tolist()])
    result = []
    for found in measured.detections:
        places = np.minimum(np.searchsorted(own, found.classes), len(own) - 1)
        classes_of = np.where(own[places] == found.classes, renamed[places], 0)
        kept = classes_of > 0
        result.append(Detections(found.boxes[kept], found.scores[kept], classes_of[kept]))
    return result


def _only(truth: GroundTruth, classes: Mapping[int, str]) -> GroundTruth:
    """An image's ground truth for these classes."""
    kept = np.isin(truth.labels, list(classes))
    ignored = None if truth.is_ignored is None else truth.is_ignored[kept]
    return GroundTruth(truth.width, truth.height, truth.boxes[kept], truth.labels[kept], truth.is_crowd[kept], ignored)
