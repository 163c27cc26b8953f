"""When a run counts as finished, and whose folder it may go into."""

from pathlib import Path

import pytest
from finished_run import write_run

from boxcar.config.run_settings import Configuration, make_configuration, write_configuration
from boxcar.errors import BoxcarError, ExitCode, Refused
from boxcar.local.resume import _take_over
from boxcar.local.step_chain import is_finished, run_all
from boxcar.report import write_report
from boxcar.run.step import require_commit
from boxcar.sync.mirror import Mirror


def test_a_run_is_finished_as_long_as_all_of_it_is_what_it_was(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    records = require_commit(run / "records", "records")
    assert not is_finished(Mirror(str(run)), records)
    write_report(str(run))
    assert is_finished(Mirror(str(run)), records)
    committed = {"train": "train", "evaluate": "eval", "freeze": "export/saved_model", "convert": "export", "report": "report"}
    one_of_each = [run / folder / min(require_commit(run / folder, step).files) for step, folder in committed.items()]
    for path in [*one_of_each, run / "run.json"]:
        away = path.rename(tmp_path / "away")
        assert not is_finished(Mirror(str(run)), records), path
        away.rename(path)
        assert is_finished(Mirror(str(run)), records)


def start(run: Path, configuration: Configuration, resume: bool = False) -> str:
    before = sorted(run.iterdir())
    with pytest.raises(Refused) as error:
        run_all(configuration, str(run), resume=resume)
    assert error.value.code == 64
    assert sorted(run.iterdir()) == before
    return error.value.what


def test_other_folders_are_refused_and_untouched(tmp_path: Path) -> None:
    ours = make_configuration(None, {"data": str(tmp_path), "steps": 5})
    (tmp_path / "holiday.jpg").write_text("mine")
    assert "holiday.jpg" in start(tmp_path, ours)
    assert "holiday.jpg" in start(tmp_path, ours, resume=True)
    run = tmp_path / "run"
    run.mkdir()
    write_configuration(run, ours)
    assert "not finished" in start(run, ours)
    assert "steps was 5 and is now 6" in start(run, ours.model_copy(update={"steps": 6}), resume=True)


def test_what_conversion_lacks_is_said_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boxcar.inference.tfjs.PROGRAM", tmp_path / "none" / "run.mjs")
    (tmp_path / "data").mkdir()
    given = make_configuration(None, {"data": str(tmp_path / "data"), "init": "none"})
    with pytest.raises(BoxcarError, match=r"TensorFlow\.js is not installed") as caught:
        run_all(given, str(tmp_path / "run"), resume=False)
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert not (tmp_path / "run").exists()
    for until, formats in (("train", given.formats), ("report", ("tflite_float32",))):
        with pytest.raises(BoxcarError, match="holds no image"):
            run_all(given.model_copy(update={"formats": formats}), str(tmp_path / "run"), resume=False, until=until)


def test_a_run_that_is_gone_on_with_keeps_what_it_was_told_of_conversion() -> None:
    given = {"formats": "tflite_int8,tfjs_float32", "limits": {"megabytes": 4, "matched": 0.8}, "int8_input": "uint8"}
    begun = make_configuration(None, {"data": "/data", **given})
    asked = make_configuration(None, {"data": "/data"})
    assert _take_over(begun, asked) == (begun, begun)
    asked = make_configuration(None, {"data": "/data", "formats": "tflite_int8", "limits": {"megabytes": 5}, "steps": 7})
    went_on, wanted = _take_over(begun, asked)
    assert went_on.formats == wanted.formats == ("tflite_int8",)
    assert (went_on.limits.megabytes, went_on.limits.matched, went_on.int8_input) == (5, 0.8, "uint8")
    assert went_on.limits == wanted.limits
    assert (went_on.steps, wanted.steps) == (None, 7)  # of training nothing is taken over
