"""No command writes over a file that it did not make, and Boxcar's own outputs are never data."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from labelled import data_set, pair, picture, save

from boxcar.config.run_settings import make_configuration, read_configuration, write_configuration
from boxcar.detect import detect
from boxcar.detect.sources import find_sources
from boxcar.errors import BoxcarError
from boxcar.local.resume import started_run
from boxcar.records import build_records
from boxcar.records.check import Batch, check
from boxcar.records.formats.voc import VocReader
from boxcar.records.listing import list_names
from boxcar.records.reader import Item
from boxcar.retraining.changes import index_files
from boxcar.run.layout import CONFIGURATION, DRAWINGS, RECORDS
from boxcar.run.own_outputs import is_drawn_file
from boxcar.run.step import Step
from boxcar.signing import _check_replaceable
from boxcar.sync.copies import claim_copy
from boxcar.sync.mirror import Mirror

Spell = Callable[[Path], str]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's photographs, in the folder that is the default for drawings; the folder above is the current one."""
    folder = tmp_path / "detections"
    for name in ("a.jpg", "b.png"):
        save(folder / name, picture(name))
    monkeypatch.chdir(tmp_path)
    return folder


def refused(**options: object) -> BoxcarError:
    with pytest.raises(BoxcarError) as caught:
        detect("model", **options)  # type: ignore[arg-type]
    assert caught.value.code == 64
    return caught.value


SPELLINGS: dict[str, Spell] = {
    "absolute": str,
    "relative": lambda path: path.name,
    "with dots": lambda path: f"./{path.name}/../{path.name}/.",
    "a link": lambda path: str(_linked(path)),
    "URI": lambda path: path.as_uri(),
}


def _linked(folder: Path) -> Path:
    link = folder.with_name("link")
    link.symlink_to(folder)
    return link


@pytest.mark.usefixtures("fake_detector")
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_drawings_never_replace_photographs(photos: Path, spelling: str) -> None:
    before = snapshot(photos)
    spelled = SPELLINGS[spelling](photos)
    for names in ([str(photos)], [str(photos / "a.jpg")], [spelled]):
        error = refused(names=names, drawn=spelled)
        assert "a.jpg" in error.what
        assert "--drawn" in error.do
    assert snapshot(photos) == before


@pytest.mark.usefixtures("fake_detector")
def test_a_way_through_a_folder_that_is_not_there_leads_to_the_photographs_too(photos: Path, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    for spelled in ("x/../detections", "./x/y/../../detections/", (tmp_path / "x" / ".." / "detections").as_uri()):
        assert "a.jpg" in refused(names=[str(photos)], drawn=spelled).what
    assert snapshot(tmp_path) == before


@pytest.mark.usefixtures("fake_detector")
def test_drawings_are_not_mixed_with_files_of_others(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    save(other / "a.jpg", picture("other"))
    before = snapshot(tmp_path)
    assert "detections" in refused(names=[str(other)], drawn="detections").what
    assert "a.jpg" in refused(names=[str(other)], drawn="other/a.jpg").what
    assert snapshot(tmp_path) == before


@pytest.mark.usefixtures("fake_detector")
def test_drawings_of_an_earlier_call_are_replaced_and_files_added_there_are_not(photos: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    detect("model", [str(photos)], drawn=str(drawn))
    assert sorted(path.name for path in drawn.iterdir()) == [DRAWINGS, "a.jpg", "b.jpg"]
    shutil.copy(photos / "a.jpg", drawn / "b.jpg")  # a person's
    detect("model", [str(photos)], drawn=str(drawn))
    assert sorted(path.name for path in drawn.iterdir()) == [DRAWINGS, "a.jpg", "b-2.jpg", "b.jpg"]
    assert (drawn / "b.jpg").read_bytes() == (photos / "a.jpg").read_bytes()
    assert "a.jpg" in refused(names=[str(drawn / "a.jpg")], drawn=str(drawn)).what


@pytest.mark.usefixtures("fake_detector")
def test_lists_never_replace_other_files(photos: Path, tmp_path: Path) -> None:
    for name, text in (
        ("coco.json", '{"images": [], "annotations": []}'),
        ("rows.csv", "filename,xmin\na.jpg,1\n"),
        ("list.json", '[{"path": "a.jpg", "detections": []}]'),
        ("key.pem", "-----BEGIN PUBLIC KEY-----\n"),
    ):
        (tmp_path / name).write_text(text)
    (tmp_path / "link.json").symlink_to("coco.json")
    before = snapshot(tmp_path)
    for name in ("coco.json", "rows.csv", "list.json", "key.pem", "link.json", "detections/a.jpg", "detections", "none/o.json"):
        assert name.split("/")[0] in refused(names=["detections/a.jpg"], json=name).what
        assert name.split("/")[0] in refused(names=["detections/a.jpg"], table=name).what
    assert "new.json" in refused(names=["detections/a.jpg"], json="new.json", table="./detections/../new.json").what
    assert snapshot(tmp_path) == before


@pytest.mark.usefixtures("fake_detector")
def test_lists_of_an_earlier_call_are_replaced(photos: Path, tmp_path: Path) -> None:
    for names in (["detections/a.jpg", "detections/b.png"], ["detections/a.jpg"]):
        detect("model", names, json="found.json", table="found.csv")
    assert len((tmp_path / "found.json").read_text().splitlines()) == 1
    assert len((tmp_path / "found.csv").read_text().splitlines()) == 2
    assert "found.csv" in refused(names=["detections/a.jpg"], json="found.csv").what
    os.link(tmp_path / "found.json", tmp_path / "same.json")
    refused(names=["detections/a.jpg"], json="found.json", table="same.json")


@pytest.mark.usefixtures("fake_detector")
def test_drawn_copies_are_never_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_set(tmp_path / "data")
    monkeypatch.chdir(data)
    detect("model", ["."], drawn="detections")
    detect("model", ["."], drawn="elsewhere/drawn")
    (data / "scan.heic").write_bytes(b"HEIC")
    names, own, others, _ = list_names(data, tmp_path / "none")
    assert len(names) == 13 and "scan.heic" in names
    assert others == ["scan.heic"]
    assert own == ["detections", "elsewhere/drawn"]
    assert [name for name in index_files(str(data), None).files if "drawn" in name or "detections" in name] == []
    made = build_records(str(data), str(tmp_path / "records"))
    text = (made.folder / "dataset.json").read_text()
    assert '"pictures_without_xml": 0' in text
    assert "detections" in text
    assert "scan.heic" in text


@pytest.mark.usefixtures("fake_detector")
def test_a_drawing_that_was_moved_is_known(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 1)
    detect("model", [str(data)], drawn=str(tmp_path / "drawn"))
    shutil.move(tmp_path / "drawn" / "p0.jpg", data / "copy.jpg")
    assert is_drawn_file(data / "copy.jpg")
    assert not is_drawn_file(data / "p0.jpg")
    (fault,) = check(Batch(data, VocReader(), [Item("p0.jpg", "p0.xml"), Item("copy.jpg", None)], full_decode=True)).faults
    assert (fault.file, fault.kind) == ("copy.jpg", "own_output")


def test_drawings_of_earlier_versions_are_known_by_their_names(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 2)
    (data / "detections").mkdir()
    for name in ("p0.jpg", "p1.jpg"):
        shutil.copy(data / name, data / "detections" / name)
    assert len(list_names(data, tmp_path / "none").names) == 4
    pair(data / "detections", "p2")  # with labels, it is a person's
    assert len(list_names(data, tmp_path / "none").names) == 8


@pytest.mark.usefixtures("fake_detector")
def test_images_below_drawings_and_steps_are_not_read(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 2)
    detect("model", [str(data)], drawn=str(data / "detections"))
    with Step("records", data / "run" / "records", {}, {}).writing() as folder:
        save(folder / "held-out.jpg", picture("held out"))
    said: list[str] = []
    assert [Path(one.path).name for one in find_sources([str(data)], None, said.append)] == ["p0.jpg", "p1.jpg"]
    assert "detections" in said[0]
    with pytest.raises(BoxcarError, match="own outputs"):
        find_sources([str(data / "detections")], None)


def test_the_images_of_shapes_are_data(tmp_path: Path) -> None:
    with Step("shapes", tmp_path / "shapes", {}, {}).writing() as folder:
        pair(folder, "shapes-0001")
    assert list_names(tmp_path, tmp_path / "none").names == ["shapes/shapes-0001.jpg", "shapes/shapes-0001.xml"]


def test_a_finished_step_does_not_remove_what_a_person_added(tmp_path: Path) -> None:
    def make(seed: int) -> None:
        with Step("freeze", tmp_path / "out", {}, {"seed": seed}).writing() as folder:
            (folder / "made.txt").write_text("made")

    make(1)
    make(2)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(BoxcarError, match=r"notes\.txt") as caught:
        make(3)
    assert caught.value.code == 64
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_run_does_not_replace_a_configuration_that_a_person_wrote(tmp_path: Path) -> None:
    (tmp_path / CONFIGURATION).write_text("steps: 5\n")
    asked = make_configuration(tmp_path / CONFIGURATION, {"data": str(tmp_path)})
    for resume in (False, True):
        with pytest.raises(BoxcarError, match=CONFIGURATION) as caught:
            started_run(Mirror(str(tmp_path)), asked, resume)
        assert caught.value.code == 64
    write_configuration(tmp_path, asked)
    kept = started_run(Mirror(str(tmp_path)), asked, resume=True)
    assert kept is not None
    assert kept.steps == read_configuration(tmp_path).steps == 5  # type: ignore[union-attr]


def test_a_run_of_an_earlier_version_is_resumed(tmp_path: Path) -> None:
    (tmp_path / CONFIGURATION).write_text("steps: 5\n")
    with Step("records", tmp_path / RECORDS, {}, {}).writing():
        pass
    assert started_run(Mirror(str(tmp_path)), make_configuration(None, {"steps": 5}), resume=True) is not None


def test_a_signature_replaces_only_a_signature(tmp_path: Path) -> None:
    path = tmp_path / "model.sig"
    path.write_text("-----BEGIN EC PRIVATE KEY-----\n")
    with pytest.raises(BoxcarError, match=r"model\.sig") as caught:
        _check_replaceable(path)
    assert caught.value.code == 64
    path.write_text('{"dsseEnvelope": {}}')
    _check_replaceable(path)


def test_a_copy_of_a_bucket_needs_a_folder_of_its_own(tmp_path: Path) -> None:
    claim_copy(tmp_path, "s3://bucket/run")
    claim_copy(tmp_path, "s3://bucket/run")
    with pytest.raises(BoxcarError, match="s3://bucket/run"):
        claim_copy(tmp_path, "s3://bucket/other")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(BoxcarError, match="mine") as caught:
        claim_copy(tmp_path / "mine", "s3://bucket/run")
    assert caught.value.code == 64
