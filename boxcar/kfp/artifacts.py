"""What the UI of Kubeflow shows of a run: metadata and panels of its artifacts, read from the steps' results.

An artifact's content is small and describes what is in the run's folder. The files themselves stay there. Its `uri` is never
set: a pod's launcher fails if it names another bucket than its own.
"""

import html
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from boxcar.data.own_names import own_name
from boxcar.run.layout import (
    CONFUSION,
    DATASET,
    DECISION,
    EVAL,
    EXPORT,
    MANIFEST,
    PAGE,
    RECORDS,
    REPORT,
    RUN_FILE,
    SAVED_MODEL,
    TEST_SCORES,
)
from boxcar.sync.mirror import Mirror

if TYPE_CHECKING:
    from boxcar.retraining.cycle import Retrained


class Artifact(Protocol):
    """The part of kfp's class that is used."""

    path: str
    metadata: dict[str, Any]


class Metrics(Artifact, Protocol):
    """A table of numbers."""

    def log_metric(self, metric: str, value: float) -> None: ...


class ClassificationMetrics(Artifact, Protocol):
    """A confusion matrix."""

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None: ...


def show_records(run: str, dataset: Artifact) -> None:
    """The data set: its version, its classes, and how many images and boxes each split has."""
    place, found = _read(run, RECORDS, DATASET)
    dataset.metadata |= {"folder": place.uri, "version": found["version"]}
    for name, split in found["splits"].items():
        dataset.metadata |= {f"{name} pictures": split["pictures"], f"{name} boxes": split["boxes"]}
    dataset.metadata["classes"] = ", ".join(found["splits"]["train"]["per_class"])
    shutil.copyfile(place.folder / DATASET, dataset.path)


def show_training(run: str, checkpoint: str, model: Artifact, scores: Metrics, confusion: ClassificationMetrics) -> None:
    """The chosen checkpoint, its scores on the test images, and its confusion matrix."""
    place, test = _read(run, EVAL, TEST_SCORES, CONFUSION)
    model.metadata |= {"checkpoint": checkpoint, "step": test["step"]}
    shutil.copyfile(place.folder / TEST_SCORES, model.path)
    _log(scores, {name: test[name] for name in ("AP", "AP50", "AP75")})
    _log(scores, {f"AP50 {name}": values["AP50"] for name, values in test["per_class"].items()})
    _log(scores, {"step": test["step"], "test pictures": test["pictures"]})
    matrix = json.loads((place.folder / CONFUSION).read_text(encoding="utf-8"))
    confusion.log_confusion_matrix(matrix["labels"], matrix["counts"])


def show_frozen(run: str, model: Artifact) -> None:
    """The SavedModel and its provenance."""
    assets = "saved_model/assets/provenance.json"
    place, provenance = _read(run, SAVED_MODEL, assets)
    model.metadata["folder"] = place.uri
    model.metadata |= {name: value for name, value in provenance.items() if isinstance(value, str | int | float)}
    shutil.copyfile(place.folder / assets, model.path)


def show_files(run: str, files: Artifact, scores: Metrics) -> None:
    """The exported files: size, speed, and score of each, and the number of images of each split that the scores are of."""
    place, manifest = _read(run, EXPORT, MANIFEST)
    files.metadata |= {"folder": place.uri, "files": ", ".join(entry["path"] for entry in manifest["files"])}
    shutil.copyfile(place.folder / MANIFEST, files.path)
    for entry in manifest["files"]:
        name = entry["path"]
        _log(scores, {f"AP50 {name}": entry["AP50"], f"milliseconds {name}": entry["milliseconds"]})
        _log(scores, {f"megabytes {name}": entry["bytes"] / 1e6})
    _log(scores, {f"{split} pictures": count for split, count in manifest["pictures"].items()})


def show_report(run: str, page: Artifact, summary: Artifact) -> None:
    """The page, and its figures in a few lines."""
    place = Mirror(run)
    shutil.copyfile(place.folder / REPORT / PAGE, page.path)
    record = json.loads((place.folder / RUN_FILE).read_text(encoding="utf-8"))
    page.metadata |= {"run": place.uri}
    Path(summary.path).write_text(_summary(place.uri, record), encoding="utf-8")


def show_retrained(ended: "Retrained", decision: Artifact, scores: Metrics, page: Artifact) -> None:
    """How a retraining ended, the scores that decided it, and the page of its run."""
    lines = [f"**{ended.outcome}**: {ended.reason}", ""]
    Path(page.path).write_text(f"<p>{html.escape(ended.reason)}</p>\n", encoding="utf-8")
    if ended.run is not None:
        place = Mirror(ended.run)
        here = place.fetch_some(lambda name: name in (DECISION, f"{REPORT}/{PAGE}"))
        page.metadata |= {"run": place.uri}
        lines += [f"Run `{place.uri}`, version {ended.version}.", ""]
        # A person can promote a version without the gate, and an old run can have been removed.
        if (here / DECISION).exists():
            found = json.loads((here / DECISION).read_text(encoding="utf-8"))
            for part in ("challenger", "champion"):
                if (measured := found[part]) is not None:
                    _log(scores, {f"AP50 {part}": measured["AP50"], f"milliseconds {part}": measured["milliseconds"]})
            lines += [f"Compared on {found['test']['pictures']} test images.", ""]
        if (here / REPORT / PAGE).exists():
            shutil.copyfile(here / REPORT / PAGE, page.path)
    Path(decision.path).write_text("\n".join(lines), encoding="utf-8")


def _summary(run: str, record: Mapping[str, Any]) -> str:
    from boxcar.report.page import run_texts  # needs packages that only the container image of the report has

    scores, (heading, chosen, compared) = record["scores"], run_texts(record)
    classes = [(name, values["AP50"], values["AP"]) for name, values in scores["per_class"].items()]
    files = [
        (entry["path"], f"{entry['bytes'] / 1e6:.1f} MB", _number(entry["AP50"]), f"{entry['milliseconds']:.1f} ms")
        for entry in record["files"]
    ]
    overall = (own_name("all", scores["per_class"]), scores["AP50"], scores["AP"])
    rows = [(name, _number(ap50), _number(ap)) for name, ap50, ap in [overall, *classes]]
    return "\n".join(
        [
            f"Run `{run}`, data `{record['dataset_version'][:12]}`; {chosen}.",
            "",
            f"{heading}:",
            "",
            *_table(("class", "AP50", "AP"), rows),
            "",
            f"Exported files, scored on {compared}:",
            "",
            *_table(("file", "size", "AP50", "per image"), files),
            "",
        ]
    )


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines of a Markdown table. A cell can hold any text: class names are the user's."""
    heads = tuple(heads)
    lines = [heads, ("---",) * len(heads), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


def _number(value: float | None) -> str:
    return "no objects" if value is None else f"{value:.3f}"


def _log(metrics: Metrics, values: Mapping[str, float | None]) -> None:
    for name, value in values.items():
        if value is not None:  # as for a class without objects
            metrics.log_metric(name, float(value))


def _read(run: str, folder: str, *names: str) -> tuple[Mirror, dict[str, Any]]:
    """A folder of a run with these files fetched, and the content of the first."""
    place = Mirror(run).below(folder)
    here = place.fetch_some(lambda name: name in names)
    found: dict[str, Any] = json.loads((here / names[0]).read_text(encoding="utf-8"))
    return place, found
