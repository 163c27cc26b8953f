"""The gate on real exported files: which version becomes the champion, and what is recorded."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import boxcar_here
from exported import ExportedRun
from registered import read, write_scores
from storage_servers import FaultProxy, MinioServer, Seen, serving

from boxcar.errors import BoxcarError
from boxcar.inference.specification import InitialCheckpoint
from boxcar.records import build_records
from boxcar.registry import (
    GateSettings,
    Model,
    add_version,
    promote_regardless,
    read_aliases,
    read_version,
    rollback,
)
from boxcar.registry.decision_files import describe_comparisons, restore_decision
from boxcar.registry.gate import _is_unchanged, compare, gate
from boxcar.registry.retest import retest
from boxcar.run.step import Step
from boxcar.shapes import make_shapes
from boxcar.storage import Changed, replace_json


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setenv("BOXCAR_CACHE", str(tmp_path / "cache"))
    return Model(str(tmp_path / "models"), "shapes")


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records with enough test images for a decision."""
    folder = tmp_path_factory.mktemp("many")
    build_records(str(make_shapes(str(folder / "shapes"), pictures=60, image_size=96)), str(folder / "records"))
    return folder / "records"


def finished(exported: ExportedRun, records: Path, run: Path, ap50: float) -> Path:
    """A copy of the exported run with these scores. Other scores make it another run."""
    shutil.copytree(exported.folder, run)
    shutil.rmtree(run / "records")
    shutil.copytree(records, run / "records")
    write_scores(run, ap50)
    return run


@pytest.fixture
def two(shapes: Model, exported_run: ExportedRun, records: Path, tmp_path: Path) -> Model:
    """A model with two versions that detect the same."""
    for number in (1, 2):
        add_version(shapes, str(finished(exported_run, records, tmp_path / f"run {number}", number / 10)))
    return shapes


def test_the_first_version_and_then_one_that_is_not_worse_become_the_champion(two: Model, tmp_path: Path) -> None:
    first = gate(two, "1", GateSettings())
    assert (first["decision"], first["champion"]) == ("promoted", None)
    second = gate(two, "2", GateSettings())
    state = read_aliases(two)
    assert state.aliases == {"champion": "2", "previous": "1"}
    assert [line.reason for line in state.history[1:]] == ["There is no champion yet.", second["reason"]]

    record = read(tmp_path / "run 2" / "decision.json")
    assert record == read(Path(two.uri) / "decisions" / f"2-1-{state.test}.json") == second
    assert (record["decision"], record["challenger"]["version"], record["champion"]["version"]) == ("promoted", "2", "1")
    assert record["challenger"]["file"] == "tflite/detector_int8.tflite" and record["challenger"]["milliseconds"] > 0
    assert record["challenger"]["sha256"] == record["champion"]["sha256"]
    assert record["difference"]["point"] == 0.0 and record["difference"]["confidence"] == 0.95
    assert record["test"]["pictures"] == len(read(tmp_path / "run 1" / "records" / "dataset.json")["splits"]["test"]["images"])
    with pytest.raises(BoxcarError, match="Version 2 of shapes is the champion") as error:
        gate(two, "2", GateSettings())
    assert error.value.code == 64


def test_a_version_that_breaks_a_limit_does_not_replace_the_champion(two: Model, capsys: pytest.CaptureFixture[str]) -> None:
    gate(two, "1", GateSettings(format="tflite_float32"))
    decision = gate(two, "2", GateSettings(max_megabytes=0.001))
    assert decision["decision"] == "kept" and "above the limit of 0.001" in decision["reason"]
    assert read_aliases(two).champion == "1"
    assert f"kept: {decision['reason']}" in capsys.readouterr().err
    assert gate(two, "2", GateSettings(min_gain=0.0))["decision"] == "kept"


def test_a_retraining_whose_best_checkpoint_is_the_champion_is_unchanged(two: Model) -> None:
    champion = read_version(two, "1")
    start = InitialCheckpoint(source="champion", sha256=champion.weights_sha256)
    kept = champion.model_copy(update={"checkpoint_step": 0, "initial_checkpoint": start})
    assert _is_unchanged(kept, champion) and not _is_unchanged(kept)
    others: tuple[dict[str, Any], ...] = (
        {"checkpoint_step": 50},
        {"initial_checkpoint": None},
        {"initial_checkpoint": InitialCheckpoint(source="another", sha256="0")},
        {"labels": {1: "circle"}},
    )
    assert not any(_is_unchanged(kept.model_copy(update=other), champion) for other in others)


def test_comparing_changes_nothing(two: Model) -> None:
    gate(two, "1", GateSettings())
    before = {path: path.read_bytes() for path in Path(two.uri).rglob("*") if path.is_file()}
    assert compare(two, "2", "1", GateSettings())["decision"] == "promoted"
    assert {path: path.read_bytes() for path in Path(two.uri).rglob("*") if path.is_file()} == before


def test_a_format_that_a_version_does_not_have_is_refused(two: Model) -> None:
    with pytest.raises(BoxcarError, match=r"Version 1 of shapes has no tflite_float16 file\..* saved_model, tflite_") as error:
        gate(two, "1", GateSettings(format="tflite_float16"))
    assert error.value.code == 64


def test_a_version_that_was_trained_on_test_images_is_refused(
    shapes: Model, exported_run: ExportedRun, records: Path, tmp_path: Path
) -> None:
    fair, unfair = (finished(exported_run, records, tmp_path / f"run {number}", number / 10) for number in (1, 2))
    dataset = read(unfair / "records" / "dataset.json")
    dataset["splits"]["train"]["images"] += dataset["splits"]["test"]["images"][:2]
    replace_json(unfair / "records" / "dataset.json", dataset)
    Step("records", unfair / "records", {}, {}).commit()
    add_version(shapes, str(fair))
    add_version(shapes, str(unfair))
    promote_regardless(shapes, "2", "Nobody looked.")
    with pytest.raises(
        BoxcarError, match=r"Version 2 of shapes was trained on 2 images of the test split \w+: \S+\.jpg"
    ) as error:
        gate(shapes, "1", GateSettings())
    assert error.value.code == 65 and "frozen-test.txt" in error.value.do and "boxcar models retest" in error.value.do
    assert read_aliases(shapes).champion == "2"


def test_a_comparison_with_a_former_champion_promotes_nothing(two: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version became the champion while the challenger was being compared."""
    gate(two, "1", GateSettings())
    measure = gate.__globals__["measure_versions"]

    def slow(*arguments: object) -> object:
        promote_regardless(two, "3", "Somebody else was quicker.")
        return measure(*arguments)

    shutil.copytree(Path(two.uri) / "1", Path(two.uri) / "3")
    monkeypatch.setitem(gate.__globals__, "measure_versions", slow)
    with pytest.raises(Changed, match="The champion of shapes was changed") as error:
        gate(two, "2", GateSettings())
    assert error.value.code == 69 and read_aliases(two).champions == ("1", "3")


def test_a_new_test_split_is_accepted_if_the_champion_was_not_trained_on_it(two: Model, tmp_path: Path) -> None:
    gate(two, "1", GateSettings())
    old = read_aliases(two).test
    seen = tmp_path / "seen"
    build_records(str(make_shapes(str(tmp_path / "same"), pictures=60, image_size=96)), str(seen), seed=3)
    with pytest.raises(BoxcarError, match="Version 1 of shapes was trained on") as error:
        retest(two, str(seen), GateSettings())
    assert error.value.code == 65 and read_aliases(two).test == old

    fresh = tmp_path / "fresh"
    build_records(str(make_shapes(str(tmp_path / "new"), pictures=40, image_size=96, seed=9)), str(fresh))
    retested = retest(two, str(fresh), GateSettings())
    state = read_aliases(two)
    assert retested.champion == "1" and retested.scores is not None and retested.scores["AP50"] is not None
    assert state.test == retested.test.split != old and state.history[-1].action == "retest"
    assert f"{retested.scores['AP50']:.4f}" in state.history[-1].reason
    assert retest(two, str(fresh), GateSettings()).test.split == state.test
    assert read_aliases(two) == state
    assert gate(two, "2", GateSettings())["test"]["split"] == state.test


def test_show_lists_the_comparisons_of_a_version(two: Model, tmp_path: Path) -> None:
    file = Path(two.uri) / "1" / "export" / "tflite" / "detector_int8.tflite"
    assert describe_comparisons(str(file)) == ["compared            not yet compared"]
    for number in ("1", "2"):
        gate(two, number, GateSettings())
    first, second = describe_comparisons(str(file))
    assert "version 1 of shapes with no champion" in first
    assert "version 2 of shapes with version 1" in second and "promoted. AP50 differs by" in second
    (line,) = describe_comparisons(str(tmp_path / "run 2" / "export" / "tflite" / "detector_int8.tflite"))
    assert line == second
    assert describe_comparisons(str(tmp_path / "elsewhere.tflite")) == []


def test_a_gate_that_is_killed_at_a_write_can_be_repeated(
    exported_run: ExportedRun, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a bucket, the champion is the old one or the new one, and the same command completes the promotion."""
    monkeypatch.setenv("BOXCAR_CACHE", str(tmp_path / "cache"))
    with serving(MinioServer(tmp_path / "server")) as server:
        proxy = FaultProxy(server.port)
        for name, value in server.environment(proxy.address).items():
            monkeypatch.setenv(name, value)
        model = Model(f"s3://{server.make_bucket()}/models", "shapes")
        for number in (1, 2):
            add_version(model, str(finished(exported_run, records, tmp_path / f"run {number}", number / 10)))
        gate(model, "1", GateSettings())
        ends = []
        for number in (1, 2):  # the decision, the champion
            ends.append(_killed_at(number, proxy, model))
        assert ends[0] == "1" and ends[1] in ("1", "2")  # the last write may have arrived
        if ends[1] == "1":
            assert gate(model, "2", GateSettings())["decision"] == "promoted"
        assert read_aliases(model).aliases == {"champion": "2", "previous": "1"}
        proxy.close()


def test_a_repeat_writes_the_decision_if_the_gate_was_killed_after_the_promotion(two: Model, tmp_path: Path) -> None:
    gate(two, "1", GateSettings())
    run = tmp_path / "run 2"
    decision = gate(two, "2", GateSettings())
    (run / "decision.json").unlink()  # as after the kill
    promote = [
        sys.executable,
        "-m",
        "boxcar",
        "models",
        "promote",
        "--models",
        two.models,
        "--model",
        "shapes",
        "--version",
        "2",
    ]
    for said in ("the decision was added to its run", "nothing was done"):
        done = subprocess.run(promote, capture_output=True, text=True, timeout=120)
        assert (done.returncode, said in done.stdout) == (0, True), done.stdout + done.stderr
        assert read(run / "decision.json") == decision
    assert read_aliases(two).champions == ("1", "2")

    (run / "decision.json").unlink()
    rollback(two)
    promote_regardless(two, "2", "A person says so.")
    assert not restore_decision(two, "2"), "this promotion was not the gate's"


def _killed_at(number: int, proxy: FaultProxy, model: Model) -> str | None:
    """The champion after a promotion of version 2 that was killed at its n-th write."""
    code = "import sys; from boxcar.registry import *; from boxcar.registry.gate import gate\n"
    code += "gate(Model(sys.argv[1], 'shapes'), '2', GateSettings())"
    process = subprocess.Popen([sys.executable, "-c", code, model.models], stderr=subprocess.PIPE)
    writes = []

    def judge(seen: Seen) -> None:
        if seen.method == "PUT":
            writes.append(seen)
            if len(writes) == number:
                process.kill()

    proxy.fault = judge
    _, errors = process.communicate(timeout=300)
    assert process.returncode == -9, errors.decode()
    proxy.settle()
    proxy.fault = lambda seen: None
    return read_aliases(model).champion


def test_the_command(two: Model, tmp_path: Path) -> None:
    def boxcar(*words: str, code: int = 0) -> str:
        done = boxcar_here("models", *words)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    here = ["--models", two.models, "--model", "shapes"]
    assert "shapes" in boxcar("list", "--models", two.models)
    assert "no champion of shapes." in boxcar("promote", *here, "--version", "1", "--max-megabytes", "0.001")
    assert "Version 1 is now the champion of shapes." in boxcar("promote", *here, "--version", "1")
    assert "The gate would say promoted: AP50 differs by" in boxcar("compare", *here, "--version", "2")
    kept = boxcar("promote", *here, "--version", "2", "--min-gain", "0.5")
    assert "Version 1 stays the champion of shapes." in kept and "version 2" in kept
    assert "Version 2 is now the champion" in boxcar("promote", *here, "--version", "2", "--without-gate", "The client asked.")
    shown = boxcar("show", *here)
    assert "2 of shapes, the champion" in shown and "The client asked." in shown and "frozen-test.txt" in shown
    listed = boxcar("list", *here)
    assert "previous" in listed and str(tmp_path / "run 1") in listed
    assert "Version 1 is the champion of shapes again." in boxcar("rollback", *here)
    assert "no champion before 1" in boxcar("rollback", *here, code=64)
    assert "no alias stable; it has: champion (1)" in boxcar("show", *here, "--version", "stable", code=64)
    assert "confidence cannot be 1.5" in boxcar("compare", *here, "--version", "2", "--confidence", "1.5", code=64)
    assert "--class-floor cat has no value" in boxcar("compare", *here, "--version", "2", "--class-floor", "cat", code=64)
    assert boxcar("add", *here, "--run", str(tmp_path / "run 2")).startswith(f"{tmp_path / 'run 2'} is version 2 of shapes.")
