"""The results of a run's finished steps, read and checked: the input of the page and its advice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from boxcar.data.box_shapes import BoxShapes, read_box_shapes
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.specification import Specification, read_specification
from boxcar.run import layout
from boxcar.run.step import Committed, require_commit
from boxcar.storage.cache import uri_of

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class SplitCounts(_Row):
    """One of train, validation and test in `dataset.json`."""

    pictures: Count
    negatives: Count = 0  # images without a box
    boxes: Count
    per_class: dict[str, Count]  # boxes of each class


class ListedFault(_Row):
    """One image or annotation file that could not be used as it is."""

    file: str
    reason: str
    done: str


class Spread(_Row):
    """The smallest, the median, and the largest of many values."""

    min: float
    median: float
    max: float


class Dataset(_Row):
    """`records/dataset.json`."""

    version: str
    splits: dict[str, SplitCounts]
    faults: tuple[ListedFault, ...] = ()
    warnings: tuple[str, ...] = ()
    clipped_boxes: Count = 0
    picture_width: Spread | None = None  # pixels
    picture_height: Spread | None = None
    relative_box_size: Spread | None = None  # square root of box area over image area, 0 to 1


class TrainingPoint(_Row):
    """One line of `train/history.jsonl`."""

    step: Count
    loss: float
    localization_loss: float | None = None
    classification_loss: float | None = None
    learning_rate: float | None = None
    images_per_second: float | None = None
    seconds: float | None = None


class ClassScore(_Row):
    """The scores of one class; None if the images contain no object of it."""

    AP: Share | None
    AP50: Share | None
    boxes: Count


class Score(_Row):
    """One line of `eval/scores.jsonl`: the scores of a checkpoint on the validation images."""

    step: Count
    AP: Share | None
    AP50: Share | None
    AP75: Share | None
    AP_small: Share | None = None
    AP_medium: Share | None = None
    AP_large: Share | None = None
    AR_1: Share | None = None
    AR_100: Share | None = None
    per_class: dict[str, ClassScore]


class Detection(_Row):
    """A detection of the chosen checkpoint."""

    box: tuple[float, float, float, float]  # ymin, xmin, ymax, xmax, normalized
    score: Share
    id: Annotated[int, Field(ge=1)]


class ImageDetections(_Row):
    """The detections in one test image."""

    sha256: str
    detections: tuple[Detection, ...]


class ChosenScore(Score):
    """`eval/test.json`: the scores of the chosen checkpoint on the test images."""

    pictures: Count
    ignored: Count = 0  # objects that are left out of the scores
    examples: tuple[ImageDetections, ...] = ()


class ListedFile(_Row):
    """One entry of `export/manifest.json`."""

    path: str
    format: str
    bytes: Count
    sha256: str
    AP: Share | None = None
    AP50: Share | None = None
    milliseconds: float | None = None
    peak_memory_bytes: Count | None = None  # of a process that runs it
    agrees: bool | None = None  # None if it cannot be judged
    reason: str | None = None  # why it cannot be judged
    use_regular_nms: bool | None = None  # for a file with NMS inside
    float_layers: tuple[str, ...] = ()  # layers of an INT8 file that are kept in float32 for accuracy
    note: str = ""


class Manifest(_Row):
    """`export/manifest.json`."""

    files: tuple[ListedFile, ...]
    threads: int | None = None  # CPU threads when the files ran
    pictures: dict[str, Count] = {}  # the number of images that the files were compared on, by split


class Contender(_Row):
    """One of the two versions in `decision.json`."""

    version: str
    run: str
    architecture: str
    bytes: Count
    milliseconds: float
    AP50: Share | None
    AP: Share | None
    per_class: dict[str, Share | None]  # AP50


class ComparedOn(_Row):
    """The images that the two versions were compared on."""

    split: str
    pictures: Count
    objects: Count


class GateDecision(_Row):
    """`decision.json`."""

    decision: str
    reason: str
    model: str
    challenger: Contender
    champion: Contender | None
    test: ComparedOn
    classes: tuple[str, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """A finished run."""

    run: Path
    committed: Mapping[str, Committed]  # by the step's name
    dataset: Dataset
    specification: Specification
    history: tuple[TrainingPoint, ...]  # ascending steps
    scores: tuple[Score, ...]  # ascending steps
    test: ChosenScore
    manifest: Manifest
    configuration: str | None  # the text of config.yaml; None if the steps ran one by one
    decision: GateDecision | None = None  # None if the gate has not compared the run
    shapes: BoxShapes = field(default_factory=dict)  # of the training boxes; empty if the records do not say

    @property
    def chosen_ap(self) -> float | None:
        """The AP that chose the checkpoint, on the validation images; None if these contain no object."""
        return None if self.chosen is None else self.chosen.AP

    @property
    def chosen_on(self) -> dict[str, int]:
        """The number of images that the checkpoint was chosen on, by split."""
        return {name: split.pictures for name, split in self.dataset.splits.items() if name == "validation"}

    @property
    def training_seconds(self) -> float:
        """How long training took, over all its starts. `step.json` knows only the last one."""
        seconds = [point.seconds for point in self.history if point.seconds is not None]
        return max(self.committed["train"].seconds, *seconds[-1:], 0.0)

    @property
    def chosen(self) -> Score | None:
        """The scores of the chosen checkpoint on the validation images."""
        return next((score for score in self.scores if score.step == self.test.step), None)


def read_evidence(run: Path) -> Evidence:
    """Reads a run whose steps are all finished.

    Raises:
        BoxcarError: 64 if a step is missing (the message names it); 65 if the files of a step were changed, are not valid, or
            were made from another state of the run.
    """
    committed = {step: require_commit(run / folder, step) for step, folder in layout.STEPS.items()}
    _check_chain(run, committed)
    test = _whole(run / layout.EVAL / layout.TEST_SCORES, ChosenScore, "evaluate")
    _check_exported(run, committed, test.step)
    history = _lines(run / layout.TRAIN / layout.HISTORY, TrainingPoint, "train")
    scores = _lines(run / layout.EVAL / layout.SCORES, Score, "evaluate")
    configuration, decision = run / layout.CONFIGURATION, run / layout.DECISION
    return Evidence(
        run=run,
        committed=committed,
        dataset=_whole(run / layout.RECORDS / layout.DATASET, Dataset, "records"),
        specification=read_specification(run / layout.SAVED_MODEL),
        history=tuple(sorted(history, key=lambda point: point.step)),
        scores=tuple(sorted(scores, key=lambda score: score.step)),
        test=test,
        manifest=_whole(run / layout.EXPORT / layout.MANIFEST, Manifest, "convert"),
        configuration=_content(configuration, "run").decode(errors="replace") if configuration.exists() else None,
        decision=_whole(decision, GateDecision, "models promote") if decision.exists() else None,
        shapes=read_box_shapes(run / layout.RECORDS),
    )


def _check_chain(run: Path, committed: Mapping[str, Committed]) -> None:
    """Raises BoxcarError 65 if a step was made from an earlier state of another step."""
    for step, one in committed.items():
        for earlier in one.inputs.keys() & committed.keys():
            if one.inputs[earlier] != committed[earlier].digest:
                raise BoxcarError(
                    ExitCode.DATA,
                    f"{uri_of(one.folder)} was not made from the {earlier} results in {uri_of(committed[earlier].folder)}.",
                    f"Run `boxcar {step}` and the steps after it again.",
                )


def _check_exported(run: Path, committed: Mapping[str, Committed], step: int) -> None:
    """Raises BoxcarError 65 if the exported files are not from the checkpoint whose scores are shown."""
    scored = committed["train"].files.get(f"{layout.checkpoint_name(step)}.index", {}).get("sha256")
    if committed["freeze"].inputs.get("checkpoint.index") != scored:
        raise BoxcarError(
            ExitCode.DATA,
            f"{uri_of(run / layout.STEPS['freeze'])} was not made from the chosen checkpoint, which is that of step {step}.",
            f"Freeze {uri_of(run / layout.TRAIN / layout.checkpoint_name(step))} and convert it, then run `boxcar report`.",
        )


_R = TypeVar("_R", bound=_Row)


def _whole(path: Path, kind: type[_R], step: str) -> _R:
    return _parsed(_content(path, step), kind, f"{path}", step)


def _lines(path: Path, kind: type[_R], step: str) -> list[_R]:
    lines = filter(None, _content(path, step).split(b"\n"))
    return [_parsed(line, kind, f"Line {number} of {path}", step) for number, line in enumerate(lines, 1)]


def _parsed(content: bytes, kind: type[_R], where: str, step: str) -> _R:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))  # empty if the content is no JSON
        raise _unreadable(where, f"{field}: {first['msg']}" if field else first["msg"], step) from error


def _content(path: Path, step: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(f"{path}", error.strerror or str(error), step) from error


def _unreadable(where: str, reason: str, step: str) -> BoxcarError:
    what = f"{where} cannot be used: {' '.join(reason.split()).rstrip('.')}."
    return BoxcarError(ExitCode.DATA, what, f"Run `boxcar {step}` again for that folder.")
