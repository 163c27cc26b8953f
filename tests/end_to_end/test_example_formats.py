"""The example of every label format goes the whole way: from the folder, as it is in the repository, to a report."""

import json
from pathlib import Path
from typing import get_args

import pytest
from command import done

from boxcar.config.run_settings import LabelFormat

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"


@pytest.mark.slow
@pytest.mark.parametrize("name", get_args(LabelFormat))
def test_the_example_of_each_format_goes_to_a_report(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    settings = ("--image-size", "128", "--steps", "2", "--init", "none", "--formats", "saved_model")
    output = done("run", "--data", str(EXAMPLES / name), "--output", str(run), *settings)
    assert str(run / "report" / "index.html") in output
    report = (run / "report" / "index.html").read_text()
    labels = json.loads((run / "export" / "saved_model" / "detector.json").read_text())["labels"]
    assert sorted(labels.values()) == ["circle", "square", "triangle"]
    assert all(label in report for label in labels.values())
    files = json.loads((run / "export" / "manifest.json").read_text())["files"]
    assert [entry["format"] for entry in files] == ["saved_model"]
