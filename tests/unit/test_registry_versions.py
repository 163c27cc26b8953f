"""Versions of a model: how they are added, listed, and read, and which runs they refer to."""

import subprocess
import sys
from pathlib import Path

import pytest
from registered import LABELS, read, sha256, write_run
from storage_servers import GCS, Server

from boxcar.data.held_out_list import read_frozen_test
from boxcar.data.label_map import write_label_map
from boxcar.detectors.checkpoint_sources import find_checkpoint
from boxcar.errors import BoxcarError
from boxcar.registry import (
    Model,
    add_version,
    fetch_version,
    held_out_list,
    list_versions,
    promote_regardless,
    read_aliases,
    read_version,
)
from boxcar.registry.decision_files import describe_comparisons
from boxcar.registry.ledger import Outcome, new_entry, write_entry
from boxcar.registry.references import references
from boxcar.registry.tables import print_models
from boxcar.registry.versions import read_trained_on
from boxcar.run.step import Step
from boxcar.storage import fetch_file, open_store, replace_json
from boxcar.sync.transfer import send_folder

DEEP = b"[" * 100_000  # deeper than the JSON parser allows
ADD = "import sys; from boxcar.registry import *; print(add_version(Model(sys.argv[1], 'pets'), sys.argv[2]))"


@pytest.fixture(params=["folder", "minio", GCS])
def models(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a new registry."""
    monkeypatch.setenv("BOXCAR_CACHE", str(tmp_path / "cache"))
    if request.param == "folder":
        return str(tmp_path / "models")
    server: Server = request.getfixturevalue(request.param)
    for name, value in server.environment(server.address).items():
        monkeypatch.setenv(name, value)
    return f"{server.scheme}://{server.make_bucket()}/models"


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model in a local folder."""
    monkeypatch.setenv("BOXCAR_CACHE", str(tmp_path / "cache"))
    return Model(str(tmp_path / "models"), "pets")


def test_a_run_becomes_a_version_with_its_results(models: str, tmp_path: Path) -> None:
    model, run = Model(models, "pets"), write_run(tmp_path / "run")
    assert add_version(model, str(run)) == "1"
    version = read_version(model, "1")
    assert (version.run, version.labels, version.AP50, version.checkpoint_step) == (str(run), LABELS, 0.6, 7)
    assert version.checkpoint_sha256 == sha256("checkpoint 0")
    assert version.frozen_test == read_aliases(model).test
    folder = fetch_version(model, "1")
    for name in ("export/tflite/detector_int8.tflite", "export/manifest.json", "eval/test.json", "records/dataset.json"):
        assert (folder / name).read_bytes() == (run / name).read_bytes()
    assert read_trained_on(folder) == {sha256("train 0"), sha256("validation 0")}
    assert [listed.number for listed in list_versions(model)] == ["1"]


def test_a_run_in_a_bucket_becomes_a_version(models: str, tmp_path: Path) -> None:
    if "://" not in models:
        pytest.skip("The other tests add runs from local folders.")
    run, there = write_run(tmp_path / "run"), models.replace("/models", "/runs/1")
    for name, owns in (
        ("records", None),
        ("eval", None),
        ("export/saved_model", None),
        ("export", ("tflite", "manifest.json")),
    ):
        send_folder(run / name, open_store(f"{there}/{name}"), owns)
    model = Model(models, "pets")
    assert add_version(model, there) == "1"
    assert read_version(model, "1").run == there
    name = "export/tflite/detector_int8.tflite"
    assert (fetch_version(model, "1") / name).read_bytes() == (run / name).read_bytes()


def test_a_run_that_is_added_again_keeps_its_number(models: str, tmp_path: Path) -> None:
    model = Model(models, "pets")
    runs = [str(write_run(tmp_path / f"run {seed}", seed=seed)) for seed in range(3)]
    assert [add_version(model, run) for run in (*runs, *runs)] == ["1", "2", "3", "1", "2", "3"]
    assert read_aliases(model).champion is None


def test_concurrent_additions_get_different_numbers_or_are_refused(models: str, tmp_path: Path) -> None:
    runs = [str(write_run(tmp_path / f"run {seed}", seed=seed)) for seed in range(3)]
    adding = [
        subprocess.Popen([sys.executable, "-c", ADD, models, run], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for run in runs
    ]
    results = [process.communicate(timeout=120) for process in adding]
    numbers = [out.strip() for out, _ in results if out]
    assert numbers and len(set(numbers)) == len(numbers)
    assert all("Another process is" in errors for out, errors in results if not out), results
    model = Model(models, "pets")
    assert sorted(add_version(model, run) for run in runs) == ["1", "2", "3"]
    found = {listed.number: listed.version for listed in list_versions(model)}
    assert {version.run for version in found.values() if version is not None} == set(runs)


def test_an_addition_is_refused_while_another_process_on_this_machine_adds(models: str, tmp_path: Path) -> None:
    model, run = Model(models, "pets"), str(write_run(tmp_path / "run"))
    with model.owned(), pytest.raises(BoxcarError, match="Another process is using") as error:
        add_version(model, run)
    assert error.value.code == 69
    assert add_version(model, run) == "1"


@pytest.mark.parametrize("finished", [False, True])
def test_an_addition_is_refused_if_another_machine_has_just_taken_its_number(
    models: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    model = Model(models, "pets")
    add_version(model, str(write_run(tmp_path / "1", seed=1)))
    if not finished:
        model.store.write("1/.unfinished", b"{}")
    before = {entry.name: entry.tag for entry in model.store.entries("1")}
    with monkeypatch.context() as patched:
        patched.setattr(Model, "numbers", lambda model: list[str]())  # as before the first was added
        with pytest.raises(BoxcarError, match="Another process is adding version 1 of pets") as error:
            add_version(model, str(write_run(tmp_path / "2", seed=2)))
    assert error.value.code == 69
    assert {entry.name: entry.tag for entry in model.store.entries("1")} == before


def test_the_first_run_chooses_the_test_split_and_later_ones_keep_it(models: str, tmp_path: Path) -> None:
    model = Model(models, "pets")
    add_version(model, str(write_run(tmp_path / "1", seed=1, test=("a.jpg", "b.jpg"))))
    split = read_aliases(model).test
    add_version(model, str(write_run(tmp_path / "2", seed=2, test=("a.jpg", "b.jpg", "c.jpg"))))
    assert read_aliases(model).test == split
    listed = fetch_file(held_out_list(model, split))
    assert read_frozen_test(listed) == {sha256("a.jpg"), sha256("b.jpg")}
    assert "a.jpg" in listed.read_text()


def test_a_partly_uploaded_version_is_reported_and_completed(models: str, tmp_path: Path) -> None:
    model, run = Model(models, "pets"), str(write_run(tmp_path / "run"))
    add_version(model, run)
    store = open_store(model.uri)
    # As after an upload that was killed.
    store.write("1/.unfinished", store.read("1/step.json"))
    store.delete(["1/step.json", "1/export/step.json", "1/export/tflite/detector_int8.tflite"])
    (listed,) = list_versions(model)
    assert listed.version is None and "step.json is missing" in listed.trouble
    for use in (fetch_version, read_version):
        with pytest.raises(BoxcarError, match=r"Version 1 of pets is partly uploaded") as error:
            use(model, "1")
        assert error.value.code == 65 and "boxcar models add" in error.value.do
    with pytest.raises(BoxcarError, match="partly uploaded"):
        promote_regardless(model, "1", "I say so.")
    assert add_version(model, run) == "1"
    assert fetch_version(model, "1") and read_aliases(model).champion is None


def test_a_version_that_lost_a_file_is_reported_and_repaired(models: str, tmp_path: Path) -> None:
    model, run = Model(models, "pets"), write_run(tmp_path / "run")
    add_version(model, str(run))
    open_store(model.uri).delete(["1/export/tflite/detector_int8.tflite"])
    (listed,) = list_versions(model)
    assert listed.version is None and "detector_int8.tflite is missing" in listed.trouble
    assert add_version(model, str(run)) == "1"
    name = "export/tflite/detector_int8.tflite"
    assert (fetch_version(model, "1") / name).read_bytes() == (run / name).read_bytes()


def test_missing_models_runs_and_versions_are_refused(pets: Model, tmp_path: Path) -> None:
    with pytest.raises(BoxcarError, match="There is no model pets") as error:
        read_aliases(pets)
    assert error.value.code == 64
    with pytest.raises(BoxcarError, match="no finished records step"):
        add_version(pets, str(tmp_path))
    add_version(pets, str(write_run(tmp_path / "run")))
    with pytest.raises(BoxcarError, match="pets has no version 9; it has: 1") as error:
        read_version(pets, "9")
    assert error.value.code == 64
    with pytest.raises(BoxcarError, match="cannot be a model's name"):
        Model(pets.models, "../pets")


def test_files_of_a_newer_boxcar_are_not_changed(pets: Model, tmp_path: Path) -> None:
    add_version(pets, str(write_run(tmp_path / "run")))
    folder = Path(pets.uri)
    replace_json(folder / "aliases.json", {**read(folder / "aliases.json"), "format_version": 2, "more": []})
    before = (folder / "aliases.json").read_bytes()
    uses = (lambda: read_aliases(pets), lambda: promote_regardless(pets, "1", ""), lambda: references(pets.models))
    for use in uses:
        with pytest.raises(BoxcarError, match="written by a newer Boxcar: its format is 2") as error:
            use()
        assert error.value.code == 65
    assert (folder / "aliases.json").read_bytes() == before
    replace_json(folder / "1" / "version.json", {**read(folder / "1" / "version.json"), "format_version": 3})
    step = read(folder / "1" / "step.json")
    step["files"]["version.json"]["bytes"] = (folder / "1" / "version.json").stat().st_size
    replace_json(folder / "1" / "step.json", step)
    with pytest.raises(BoxcarError, match="format is 3"):
        list_versions(pets)


def test_a_version_was_trained_on_its_ancestors_images_too(pets: Model, tmp_path: Path) -> None:
    first = write_run(tmp_path / "1", seed=1, train=("old.jpg",))
    add_version(pets, str(first))
    weights = find_checkpoint(str(fetch_version(pets, "1") / "export" / "saved_model" / "checkpoint"))
    initial = {"source": str(weights.path), "sha256": weights.sha256}
    add_version(pets, str(write_run(tmp_path / "2", seed=2, train=("new.jpg",), initial=initial)))
    again = {"source": "elsewhere", "sha256": sha256("checkpoint 2")}
    add_version(pets, str(write_run(tmp_path / "3", seed=3, initial=again)))
    assert [read_version(pets, number).ancestor for number in "123"] == [None, "1", "2"]
    seen = read_trained_on(fetch_version(pets, "3"))
    assert {sha256(name) for name in ("old.jpg", "new.jpg", "train 1", "validation 2", "train 3")} <= seen


def test_a_registry_refers_to_the_runs_of_its_versions(pets: Model, tmp_path: Path) -> None:
    assert references(pets.models).runs == set()
    runs = [str(write_run(tmp_path / f"run {seed}", seed=seed)) for seed in range(4)]
    for run in runs:
        add_version(pets, run)
    found = references(pets.models)
    assert found == ({"pets"}, set(runs), set())


def test_a_registry_refers_to_the_run_of_a_partly_uploaded_version(pets: Model, tmp_path: Path) -> None:
    runs = [str(write_run(tmp_path / f"run {seed}", seed=seed)) for seed in range(3)]
    for run in runs:
        add_version(pets, run)
    open_store(pets.uri).delete(["1/step.json", "2/export/manifest.json", "3/step.json", "3/version.json"])
    found = references(pets.models)
    assert found.runs == set(runs[:2])
    assert found.unknown == {("pets", "3")}


def test_a_registry_refers_to_the_runs_of_retrainings_that_may_be_resumed(pets: Model, tmp_path: Path) -> None:
    run = str(write_run(tmp_path / "run"))
    add_version(pets, run)
    outcomes: tuple[Outcome | None, ...] = (None, "failed", "kept")
    for number, outcome in enumerate(outcomes):
        entry = new_entry(f"{number}", f"runs/{number}", "all is new", None, None, None)
        write_entry(pets.store, entry.model_copy(update={"outcome": outcome}))
    assert references(pets.models).runs == {run, "runs/0", "runs/1"}
    for content in (b"[]", b"{", b'{"format_version": 2}'):
        pets.store.write("retrainings/9.json", content)
        with pytest.raises(BoxcarError, match=r"retrainings/9\.json (is not valid|was written by a newer)") as error:
            references(pets.models)
        assert error.value.code == 65


@pytest.mark.parametrize("content", [b"{", b"[]"])
def test_a_model_that_is_not_valid_hides_no_other(
    pets: Model, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    add_version(pets, str(write_run(tmp_path / "run")))
    open_store(pets.models).write("cats/aliases.json", content)
    open_store(pets.models).write("dogs/aliases.json", b'{"test": "x", "champions": ["1"]}')
    with pytest.raises(BoxcarError, match=r"cats/aliases\.json is not valid") as error:
        print_models(pets.models)
    assert error.value.code == 65
    cats, dogs, last = capsys.readouterr().out.splitlines()[1:]
    assert "cats/aliases.json is not valid" in cats
    assert dogs.split() == ["dogs", "1", "0", "x", "not", "known"]
    assert last.startswith("pets ") and "begin" in last


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b"{", DEEP, b'{"challenger": 1, "champion": null}', b'{"format_version": 2}']
)
def test_a_decision_that_is_not_valid_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "export" / "tflite").mkdir(parents=True)
    (tmp_path / "decision.json").write_bytes(content)
    (line,) = describe_comparisons(str(tmp_path / "export" / "tflite"))
    why = "was written by a newer Boxcar" if b"2" in content else "is not valid"
    assert line.startswith(f"compared            unknown: {tmp_path}/decision.json {why}")


def test_a_runs_signature_is_not_copied(pets: Model, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for folder in ("export", "export/saved_model"):
        (run / folder / "model.sig").write_text("signed")
    number = add_version(pets, str(run))
    assert not list(Path(pets.uri, number).rglob("model.sig"))
    assert fetch_version(pets, number)


def test_a_run_whose_steps_do_not_belong_together_is_no_version(pets: Model, tmp_path: Path) -> None:
    """Its names or its scores would be those of another detector."""
    relabeled, refrozen = write_run(tmp_path / "relabeled"), write_run(tmp_path / "refrozen")
    write_label_map(relabeled / "records" / "label_map.pbtxt", {1: "dog", 2: "cat"})
    Step("records", relabeled / "records", {}, {}).commit()
    replace_json(refrozen / "eval" / "test.json", {"AP": 0.4, "AP50": 0.6, "step": 20})
    Step("evaluate", refrozen / "eval", {}, {}).commit()
    for run, words in (
        (relabeled, "id 1 is dog in its records, but cat"),
        (refrozen, "step 20, but its exported files are from"),
    ):
        with pytest.raises(BoxcarError, match=words) as error:
            add_version(pets, str(run))
        assert error.value.code == 65
    assert all(listed.version is None for listed in list_versions(pets))
