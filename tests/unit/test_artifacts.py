"""What the UI of Kubeflow is given to show of a run, with kfp's own artifacts."""

import json
from pathlib import Path
from typing import Any

from exported import ExportedRun
from kfp import dsl

from boxcar.kfp.artifacts import show_files, show_frozen, show_report, show_retrained
from boxcar.retraining.cycle import Retrained


def artifact(kind: type[dsl.Artifact], folder: Path) -> Any:
    return kind(name=kind.__name__, uri=str(folder / kind.__name__), metadata={})


def test_a_saved_model_says_where_it_comes_from(exported_run: ExportedRun, tmp_path: Path) -> None:
    model = artifact(dsl.Model, tmp_path)
    show_frozen(str(exported_run.folder), model)
    assert model.metadata["folder"] == str(exported_run.frozen)
    assert model.metadata["dataset_version"] == "of-the-test"
    assert model.metadata["checkpoint_step"] == 7
    assert None not in model.metadata.values(), "Kubeflow takes no null"
    assert json.loads(Path(model.path).read_text())["run"] == model.metadata["run"]


def test_every_exported_file_is_in_the_table(exported_run: ExportedRun, tmp_path: Path) -> None:
    files, scores = artifact(dsl.Model, tmp_path), artifact(dsl.Metrics, tmp_path)
    show_files(str(exported_run.folder), files, scores)
    manifest = json.loads((exported_run.export / "manifest.json").read_text())
    paths = [entry["path"] for entry in manifest["files"]]
    assert files.metadata["files"] == ", ".join(paths)
    assert json.loads(Path(files.path).read_text()) == manifest
    for entry in manifest["files"]:
        assert scores.metadata[f"milliseconds {entry['path']}"] == entry["milliseconds"]
        assert scores.metadata[f"megabytes {entry['path']}"] == entry["bytes"] / 1e6
        assert scores.metadata.get(f"AP50 {entry['path']}") == entry["AP50"]


def test_names_of_classes_break_no_table(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "report").mkdir(parents=True)
    (run / "report" / "index.html").write_text("<html>")
    record = {
        "scores": {"AP": 0.5, "AP50": 0.75, "per_class": {"a | b": {"AP": None, "AP50": None}}},
        "files": [],
        "dataset_version": "5e",
        "checkpoint_step": 7,
    }
    (run / "run.json").write_text(json.dumps(record))
    page, summary = artifact(dsl.HTML, tmp_path), artifact(dsl.Markdown, tmp_path)
    show_report(str(run), page, summary)
    assert Path(page.path).read_text() == "<html>"
    lines = Path(summary.path).read_text().splitlines()
    assert "| all | 0.750 | 0.500 |" in lines
    assert "| a \\| b | no objects | no objects |" in lines


def test_a_retraining_is_shown_with_what_its_run_still_holds(tmp_path: Path) -> None:
    """A run of long ago may be gone, and a person may have made its version the champion without the gate."""
    run = tmp_path / "run"
    ended = Retrained("unchanged", "These images were already trained on: <promoted>.", str(run), "3")

    def show() -> tuple[str, str, dict[str, Any]]:
        decision, scores, page = (artifact(kind, tmp_path) for kind in (dsl.Markdown, dsl.Metrics, dsl.HTML))
        show_retrained(ended, decision, scores, page)
        return Path(decision.path).read_text(), Path(page.path).read_text(), scores.metadata

    text, page, scores = show()
    assert f"Run `{run}`, version 3." in text and "already trained on: &lt;promoted&gt;." in page and not scores
    (run / "report").mkdir(parents=True)
    (run / "report" / "index.html").write_text("<html>")
    compared = {"challenger": {"AP50": 0.9, "milliseconds": 5.0}, "champion": None, "test": {"pictures": 12}}
    (run / "decision.json").write_text(json.dumps(compared))
    text, page, scores = show()
    assert "Compared on 12 test images." in text and page == "<html>"
    assert scores == {"AP50 challenger": 0.9, "milliseconds challenger": 5.0}
