"""What the finished steps left in a run's folder, read and checked: all that the page and its advice are made from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
    kind: str
    reason: str
    done: str


class Spread(_Row):
    """The smallest, the middle and the largest of many values."""

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
    regularization_loss: float | None = None
    learning_rate: float | None = None
    images_per_second: float | None = None
    seconds: float | None = None


class ClassScore(_Row):
    """One class's scores; None where there is no true box to measure them by."""

    AP: Share | None
    AP50: Share | None
    boxes: Count


class Score(_Row):
    """One line of `eval/scores.jsonl`: a checkpoint on the validation images."""

    step: Count
    AP: Share | None
    AP50: Share | None
    AP75: Share | None
    AP_small: Share | None = None
    AP_medium: Share | None = None
    AP_large: Share | None = None
    AR_1: Share | None = None
    AR_10: Share | None = None
    AR_100: Share | None = None
    per_class: dict[str, ClassScore]


class Detection(_Row):
    """A box that the chosen checkpoint found."""

    box: tuple[float, float, float, float]  # ymin, xmin, ymax, xmax, normalised
    score: Share
    id: Annotated[int, Field(ge=1)]


class ImageDetections(_Row):
    """What was found in one test image."""

    sha256: str
    detections: tuple[Detection, ...]


class ChosenScore(Score):
    """`eval/test.json`: the chosen checkpoint on the test images."""

    pictures: Count
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
    agrees: bool | None = None  # None where it cannot be judged
    reason: str | None = None  # why it cannot
    use_regular_nms: bool | None = None  # of a file that decodes by itself
    float_layers: tuple[str, ...] = ()  # that an INT8 file computes in float32, because INT8 cost too much there
    note: str = ""  # what else a person should know


class Manifest(_Row):
    """`export/manifest.json`."""

    files: tuple[ListedFile, ...]
    threads: int | None = None  # that the files ran with
    pictures: dict[str, Count] = {}  # that the files were compared on, by split


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
    """The images that the two were compared on."""

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
    configuration: str | None  # the text of config.yaml, where `boxcar run` left one
    decision: GateDecision | None = None  # of the gate, where it was asked

    @property
    def training_seconds(self) -> float:
        """How long training took, over all its starts: `step.json` knows of the last one only."""
        seconds = [point.seconds for point in self.history if point.seconds is not None]
        return max(self.committed["train"].seconds, *seconds[-1:], 0.0)


def read_evidence(run: Path) -> Evidence:
    """Reads a run whose steps are all finished.

    Raises:
        BoxcarError: 64 where a step is missing (it names the step to run), 65 where a step's files were changed, belong to
            another state of the run or cannot be understood.
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
        configuration=_text(configuration, "run") if configuration.exists() else None,
        decision=_whole(decision, GateDecision, "models promote") if decision.exists() else None,
    )


def _check_chain(run: Path, committed: Mapping[str, Committed]) -> None:
    """65 if a step was made from another state of an earlier step than the present one."""
    for step, one in committed.items():
        for earlier in one.inputs.keys() & committed.keys():
            if one.inputs[earlier] != committed[earlier].digest:
                raise BoxcarError(
                    ExitCode.DATA,
                    f"{uri_of(one.folder)} was not made from the {earlier} results in {uri_of(committed[earlier].folder)}.",
                    f"Run `boxcar {step}` and the steps after it again.",
                )


def _check_exported(run: Path, committed: Mapping[str, Committed], step: int) -> None:
    """65 where the exported files are not of the checkpoint whose scores are shown."""
    scored = committed["train"].files.get(f"{layout.checkpoint_name(step)}.index", {}).get("sha256")
    if committed["freeze"].inputs.get("checkpoint.index") != scored:
        raise BoxcarError(
            ExitCode.DATA,
            f"{uri_of(run / layout.STEPS['freeze'])} was not made from the chosen checkpoint, which is that of step {step}.",
            f"Freeze {uri_of(run / layout.TRAIN / layout.checkpoint_name(step))} and convert it, then run `boxcar report`.",
        )


_R = TypeVar("_R", bound=_Row)


def _whole(path: Path, kind: type[_R], step: str) -> _R:
    try:
        return kind.model_validate(_parse(_text(path, step)))
    except ValueError as error:
        raise _unreadable(path, error, step) from error


def _lines(path: Path, kind: type[_R], step: str) -> list[_R]:
    rows = []
    # Split at line feeds alone: JSON leaves other line ends, such as U+2028, as they are in a class's name.
    for number, line in enumerate(filter(None, _text(path, step).split("\n")), 1):
        try:
            rows.append(kind.model_validate(_parse(line)))
        except ValueError as error:
            raise _unreadable(path, error, step, number) from error
    return rows


def _parse(text: str) -> Any:
    return json.loads(text)


def _text(path: Path, step: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error, step) from error


def _unreadable(path: Path, error: Exception, step: str, line: int | None = None) -> BoxcarError:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    else:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    where = f"Line {line} of {path}" if line else f"{path}"
    return BoxcarError(
        ExitCode.DATA,
        f"{where} cannot be used: {' '.join(reason.split()).rstrip('.')}.",
        f"Run `boxcar {step}` again for that folder.",
    )
