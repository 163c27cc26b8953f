"""The examples of all label formats are the same data set."""

import json
from pathlib import Path
from typing import get_args

import pytest

from boxcar.config.run_settings import LabelFormat
from boxcar.records import build_records

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"


def test_there_is_one_of_each_format() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == set(get_args(LabelFormat))


@pytest.mark.parametrize("name", get_args(LabelFormat))
def test_all_are_the_same_data_set(tmp_path: Path, name: str) -> None:
    build_records(str(EXAMPLES / name), str(tmp_path / "out"))
    dataset = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert dataset["version"] == "bb376d3823cfd547201b3cb46786493b4bd36775c958c8b1ff4d6570fb6f9b6b"
    assert not dataset["faults"] and dataset["pictures_without_xml"] == 0
