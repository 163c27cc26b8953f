"""Classes whose names are also words of ours: no table has a name twice."""

import json
from pathlib import Path

import numpy as np
import pytest
from finished_run import write_run

from boxcar.data.own_names import own_name
from boxcar.evaluation import panels
from boxcar.export.tflite_metadata import CLASS_SLOTS, associated_files
from boxcar.inference.specification import Specification
from boxcar.kfp.artifacts import _summary
from boxcar.report.terminal import print_summary


def test_a_word_of_ours_differs_from_every_class() -> None:
    assert own_name("background", ["cat"]) == "background"
    assert own_name("background", ["background", "(background)"]) == "((background))"


def test_the_slots_of_a_file_have_different_names() -> None:
    class Provenance:
        def text(self) -> str:
            return "{}"

    specification = Specification(architecture="any", image_size=64, labels={1: "background", 2: "cat"})
    slots = associated_files(specification, Provenance(), ["class_logits"])[CLASS_SLOTS].splitlines()  # type: ignore[arg-type]
    assert slots == ["(background)", "background", "cat"]


def test_the_confusion_matrix_has_a_row_and_a_column_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(panels, "shorten", lambda name, font, width: drawn.append(name) or name)
    names = ["missed", "nothing there", "cat"]
    panels.draw_confusion(np.ones((4, 4), np.int64), names, "Title")
    rows, columns = drawn[:4], drawn[4:]
    assert rows[:3] == columns[:3] == names
    assert len(set(rows)) == len(set(columns)) == 4


def test_the_mean_of_all_classes_is_told_from_a_class_of_that_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from boxcar.report import write_report

    run = write_run(tmp_path / ":car: run")
    write_report(str(run))
    record = json.loads((run / "run.json").read_bytes())
    record["scores"]["per_class"] = {"all": {"AP50": 0.25, "AP": 0.2, "boxes": 3}}
    (run / "run.json").write_text(json.dumps(record))
    for text in (_summary(str(run), record), (print_summary(str(run)), capsys.readouterr().out)[1]):
        words = text.replace("|", " ").split()
        assert words.count("all") == 1 and words.count("(all)") == 1
    assert ":car: run" in text
