"""Where a detector comes from: found once, and the same inside every file."""

import hashlib
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from exported import ARCHITECTURE, ExportedRun

import boxcar
from boxcar.config.conversion_settings import Conversion
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export import convert
from boxcar.export import provenance as module
from boxcar.export.provenance import code_revision, read_provenance, trace
from boxcar.inference.embedded import check_labels, read_embedded
from boxcar.inference.specification import InitialCheckpoint, read_specification
from boxcar.run.step import Step, read_commit


def _hash(run: ExportedRun) -> str:
    parts = sorted(run.checkpoint.parent.glob(f"{run.checkpoint.name}.*"))
    lines = [
        f"{hashlib.sha256(part.read_bytes()).hexdigest()}  {part.name.removeprefix(run.checkpoint.name)}\n" for part in parts
    ]
    assert len(lines) == 2
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_it_is_the_same_in_every_file_and_in_the_manifest(exported_run: ExportedRun) -> None:
    wanted = json.loads((exported_run.frozen / "saved_model" / "assets" / "provenance.json").read_text())
    assert wanted == {
        "run": exported_run.folder.resolve().as_uri(),
        "architecture": ARCHITECTURE,
        "checkpoint_step": 7,
        "checkpoint_sha256": _hash(exported_run),
        "initial_checkpoint": None,
        "dataset_version": "of-the-test",
        "code_version": boxcar.__version__,
        "code_revision": code_revision(),
        "image": None,
        "pipeline_version": None,
    }
    manifest = json.loads((exported_run.export / "manifest.json").read_text())
    assert manifest["provenance"] == wanted
    inside = []
    for entry in manifest["files"][1:]:
        place = exported_run.export / entry["path"]
        if place.is_file():
            with zipfile.ZipFile(place) as archive:
                inside.append(json.loads(archive.read("provenance.json")))
        else:
            inside.append(json.loads((place / "model.json").read_text())["userDefinedMetadata"]["provenance"])
    assert inside == [wanted] * 5


def test_what_surrounds_it(exported_run: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = InitialCheckpoint(source="zoo", sha256="0" * 64)
    specification = read_specification(exported_run.frozen).model_copy(update={"initial_checkpoint": started})
    monkeypatch.setenv("BOXCAR_IMAGE", "registry.example/boxcar/train@sha256:1234")
    monkeypatch.setenv("BOXCAR_PIPELINE_VERSION", "2.1")
    monkeypatch.setenv("BOXCAR_CODE_REVISION", "f00d")
    found = trace(exported_run.checkpoint, "s3://bucket/runs/1", specification)
    assert found.run == "s3://bucket/runs/1"
    assert (found.image, found.pipeline_version, found.code_revision) == (
        "registry.example/boxcar/train@sha256:1234",
        "2.1",
        "f00d",
    )
    assert found.initial_checkpoint == started
    # A checkpoint that lies in no run.
    for part in exported_run.checkpoint.parent.glob("ckpt-7.*"):
        shutil.copy(part, tmp_path / part.name.replace("ckpt-7", "mine"))
    monkeypatch.setenv("BOXCAR_IMAGE", "")
    alone = trace(tmp_path / "mine", None, specification)
    assert (alone.run, alone.checkpoint_step, alone.image) == (None, None, None)
    assert alone.checkpoint_sha256 == found.checkpoint_sha256


def test_the_codes_own_repository_is_asked_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOXCAR_CODE_REVISION", raising=False)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "boxcar" / "__init__.py"
    package.parent.mkdir()
    package.write_text("")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "begun")
    git("tag", "v1")
    monkeypatch.setattr(module.boxcar, "__file__", str(package))
    assert code_revision() == git("rev-parse", "HEAD")
    package.write_text("changed = 1\n")
    assert code_revision() == git("rev-parse", "HEAD") + "-dirty"
    # Installed into an environment that lies in somebody's repository.
    installed = tmp_path / "env" / "site-packages" / "boxcar" / "__init__.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("")
    monkeypatch.setattr(module.boxcar, "__file__", str(installed))
    assert code_revision() is None


def _committed_again(run: ExportedRun, folder: Path) -> None:
    """Makes a changed copy of what `freeze` wrote look finished."""
    frozen = read_commit(run.frozen, "freeze")
    assert frozen is not None
    Step("freeze", folder, frozen.inputs, frozen.parameters).commit()


def _changed(folder: Path, **changes: object) -> None:
    path = folder / "detector.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("architecture", (ARCHITECTURE, "retinanet_resnet50_fpn_640x640")),
        ("no labels", ("labels",)),
        ("other labels", ("id 3", "triangle", "hexagon")),
        pytest.param("class count", ("class_logits",), marks=pytest.mark.slow),
        ("no provenance", ("saved_model", "provenance")),
        pytest.param("cut short", ("saved_model",), marks=pytest.mark.slow),
    ],
)
def test_a_savedmodel_that_does_not_fit_its_description(
    exported_run: ExportedRun, tmp_path: Path, damage: str, words: tuple[str, ...]
) -> None:
    frozen = Path(shutil.copytree(exported_run.frozen, tmp_path / "frozen"))
    records = Path(shutil.copytree(exported_run.records, tmp_path / "records"))
    assets = frozen / "saved_model" / "assets"
    if damage == "architecture":
        _changed(frozen, architecture="retinanet_resnet50_fpn_640x640")
    elif damage == "no labels":
        (assets / "labels.txt").unlink()
    elif damage == "other labels":
        _changed(frozen, labels={"1": "circle", "2": "square", "3": "hexagon"})
    elif damage == "class count":
        _changed(frozen, labels={"1": "circle", "2": "square"})
        (assets / "labels.txt").write_text("circle\nsquare\n")
        (records / "label_map.pbtxt").write_text("item { id: 1 name: 'circle' } item { id: 2 name: 'square' }")
        labelled = read_commit(exported_run.records, "records")
        assert labelled is not None
        Step("records", records, labelled.inputs, labelled.parameters).commit()
    elif damage == "no provenance":
        (assets / "provenance.json").unlink()
    else:
        data = frozen / "saved_model" / "variables" / "variables.data-00000-of-00001"
        data.write_bytes(data.read_bytes()[:1000])
    _committed_again(exported_run, frozen)
    with pytest.raises(BoxcarError) as caught:
        convert(str(frozen), str(records), str(tmp_path / "out"), Conversion(formats=("tflite_float32_nms",)))
    assert caught.value.code == ExitCode.DATA
    assert all(word in caught.value.what for word in words), caught.value.what
    assert not (tmp_path / "out").exists()


def test_provenance_that_cannot_be_understood(exported_run: ExportedRun, tmp_path: Path) -> None:
    frozen = Path(shutil.copytree(exported_run.frozen, tmp_path / "frozen"))
    for content in ("{", '{"run": 1}'):
        (frozen / "saved_model" / "assets" / "provenance.json").write_text(content)
        with pytest.raises(BoxcarError, match="boxcar freeze") as caught:
            read_provenance(frozen)
        assert caught.value.code == ExitCode.DATA


def test_labels_that_are_fewer(exported_run: ExportedRun) -> None:
    specification = read_specification(exported_run.frozen)
    more = specification.model_copy(update={"labels": {**specification.labels, 4: "star"}})
    for place in ("saved_model/saved_model", "tflite/detector_int8.tflite", "tfjs/float32"):
        path = exported_run.export / place
        check_labels(path, specification)
        with pytest.raises(BoxcarError, match=r"\b3\b.*\b4\b"):
            check_labels(path, more)
    nothing = read_embedded(exported_run.export / "tflite" / "labels.txt")
    assert (nothing.labels, nothing.provenance) == (None, None)


@pytest.mark.parametrize("change", [{"dataset_version": "of-another-run"}, {"architecture": "retinanet_resnet50_fpn_640x640"}])
def test_a_description_of_another_detector_of_the_same_classes_is_refused(
    exported_run: ExportedRun, change: dict[str, str]
) -> None:
    """Its anchors are others, so its boxes would be wrong."""
    other = read_specification(exported_run.frozen).model_copy(update=change)
    (value,) = change.values()
    for name in (
        "tflite/detector_float32.tflite",
        "tflite/detector_float32_nms.tflite",
        "tfjs/float32",
        "saved_model/saved_model",
    ):
        with pytest.raises(BoxcarError, match=f"but {value} in its detector.json") as caught:
            check_labels(exported_run.export / name, other)
        assert caught.value.code == 65
