"""What is gone or was changed in a registry is said by every command that reads it, with how to mend it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from registered import write_run

from boxcar.config.gate_settings import GateSettings
from boxcar.config.run_settings import make_configuration
from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry import Model, add_version, fetch_version, promote_regardless, read_aliases, read_version, rollback
from boxcar.registry.decision_files import restore_decision
from boxcar.registry.gate import compare, gate
from boxcar.registry.tables import print_models, print_version, print_versions
from boxcar.retraining.starting_point import starting_point

FILE = "export/tflite/detector_int8.tflite"


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model with three versions. The first two were promoted, and the second is the champion."""
    monkeypatch.setenv("BOXCAR_CACHE", str(tmp_path / "cache"))
    model = Model(str(tmp_path / "models"), "pets")
    for number in ("1", "2", "3"):
        add_version(model, str(write_run(tmp_path / f"run {number}", seed=int(number))))
    for number in ("1", "2"):
        promote_regardless(model, number, f"Reason {number}.")
    return model


def start(model: Model) -> object:
    return starting_point(model, make_configuration(None, {"data": "images"}))


READERS: dict[str, Callable[[Model], object]] = {
    "show": lambda model: print_version(model, "2"),
    "fetch": lambda model: fetch_version(model, "2"),
    "promote": lambda model: gate(model, "3", GateSettings()),
    "compare": lambda model: compare(model, "3", "2", GateSettings()),
    "retrain": start,
}


def change(path: Path) -> None:
    """Changes a file, but not its size."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def refused(read: Callable[[Model], object], model: Model) -> BoxcarError:
    before = read_aliases(model)
    with pytest.raises(BoxcarError) as error:
        read(model)
    assert error.value.code == ExitCode.DATA and read_aliases(model) == before
    return error.value


@pytest.mark.parametrize("reader", READERS)
def test_a_champion_that_is_gone_is_named_with_how_to_replace_it(pets: Model, reader: str) -> None:
    shutil.rmtree(Path(pets.uri, "2"))
    error = refused(READERS[reader], pets)
    assert "Version 2 of pets, the champion, is gone" in error.what and f"{pets.uri}/2" in error.what
    assert "--without-gate" in error.do
    # What the sentence says works.
    promote_regardless(pets, "3", "The champion is gone.")
    assert read_version(pets, "3") and read_aliases(pets).champion == "3"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", [FILE, "version.json"])
def test_a_champion_that_was_changed_is_named_with_the_file_and_mended_by_its_run(
    pets: Model, tmp_path: Path, reader: str, name: str
) -> None:
    path = Path(pets.uri, "2", name)
    path.write_bytes(path.read_bytes().replace(b"0.6", b"0.9") if name == "version.json" else b"file 9")  # of the same size
    error = refused(READERS[reader], pets)
    assert f"Version 2 of pets is damaged: {name} was changed" in error.what and "boxcar models add" in error.do
    assert add_version(pets, str(tmp_path / "run 2")) == "2"
    assert fetch_version(pets, "2")


def test_a_version_that_was_changed_is_not_promoted_by_hand_either(pets: Model) -> None:
    change(Path(pets.uri, "3", FILE))
    assert FILE in refused(lambda model: promote_regardless(model, "3", "I say so."), pets).what


@pytest.mark.parametrize("gone", [True, False])
def test_nothing_is_rolled_back_to_what_is_broken(pets: Model, gone: bool) -> None:
    if gone:
        shutil.rmtree(Path(pets.uri, "1"))
    else:
        change(Path(pets.uri, "1", FILE))
    assert ("is gone" if gone else f"{FILE} was changed") in refused(rollback, pets).what


@pytest.mark.parametrize("reader", ["show", "promote", "compare"])
@pytest.mark.parametrize("how", ["gone", "changed"])
def test_a_held_out_test_split_that_is_broken_is_named(pets: Model, reader: str, how: str) -> None:
    split = read_aliases(pets).test
    folder = Path(pets.uri, "tests", split)
    if how == "gone":
        shutil.rmtree(folder)
    else:
        change(folder / "test-00000-of-00001.tfrecord")
    error = refused(READERS[reader], pets)
    assert f"test split {split} of pets is missing or was changed" in error.what and "boxcar models retest" in error.do


def test_the_lists_show_what_is_broken(pets: Model, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(Path(pets.uri, "2"))
    shutil.rmtree(Path(pets.uri, "tests"))
    Path(pets.uri, "3", FILE).write_bytes(b"longer than it was")
    print_models(pets.models)
    assert "version 2 is gone" in capsys.readouterr().out
    print_versions(pets)
    said = capsys.readouterr().out
    assert "The champion, version 2, is gone." in said and f"{FILE} is missing or was changed" in said
    assert f"test split {read_aliases(pets).test} of pets is gone" in said and "boxcar models retest" in said


def test_a_version_is_not_compared_with_itself(pets: Model) -> None:
    with pytest.raises(BoxcarError, match="Version 2 of pets cannot be compared with itself") as error:
        compare(pets, "2", "2", GateSettings())
    assert error.value.code == ExitCode.USAGE


@pytest.mark.parametrize("content", ["{", "[]", '{"decision": "promoted"}'])
def test_a_decision_that_is_not_valid_is_named(pets: Model, content: str) -> None:
    name = f"decisions/2-1-{read_aliases(pets).test}.json"
    path = Path(pets.uri, name)
    path.parent.mkdir()
    path.write_text(content)
    assert name in refused(lambda model: restore_decision(model, "2"), pets).what
