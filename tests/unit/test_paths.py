"""Names of folders and files that mean something to a library: patterns, escapes, bytes that are not UTF-8, other spellings."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from exported import ExportedRun
from finished_run import write_run

from boxcar.config.cluster_settings import ClusterSettings
from boxcar.config.run_settings import Configuration, make_configuration, read_configuration, write_configuration
from boxcar.detect import detect
from boxcar.detectors.checkpoint_sources import find_checkpoint
from boxcar.errors import BoxcarError, Refused
from boxcar.local.resume import started_run
from boxcar.local.step_chain import run_all
from boxcar.storage import local_path, replace_json
from boxcar.storage.plain_path import plain_path
from boxcar.sync.mirror import Mirror

LATIN = os.fsdecode(b"b\xe4r")
ODD = [
    "run [v2]",
    "[",
    "a]b[c",
    "back\\slash",
    "a*b?",
    "100%",
    "%s %20",
    "a#b",
    "{0} {x,y}",
    "two\nlines",
    "-dash",
    "~me",
    LATIN,
]


@pytest.mark.parametrize("name", ODD)
def test_a_checkpoint_is_read_from_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    import tensorflow as tf

    from boxcar.detectors.checkpoint_weights import read_variables

    (tmp_path / "plain").mkdir()
    tf.train.Checkpoint(v=tf.Variable([1.0, 2.0])).write(str(tmp_path / "plain" / "ckpt-6"))
    folder = (tmp_path / "plain").rename(tmp_path / name)
    assert read_variables(folder / "ckpt-6", ["v"])["v"].tolist() == [1, 2]
    with plain_path(folder / "ckpt-6") as readable:
        tf.train.Checkpoint(v=tf.Variable([0.0, 0.0])).read(str(readable)).assert_consumed()
    assert sorted(path.name for path in folder.iterdir()) == ["ckpt-6.data-00000-of-00001", "ckpt-6.index"]


@pytest.mark.parametrize("prefix", ["my [best]", "ckpt-*", "a\\b"])
def test_a_checkpoint_itself_can_have_any_name(tmp_path: Path, prefix: str) -> None:
    import tensorflow as tf

    from boxcar.detectors.checkpoint_weights import read_variables

    for number, name in enumerate(("first", "ckpt-x")):  # the second one matches a pattern
        tf.train.Checkpoint(v=tf.Variable([float(number)])).write(str(tmp_path / name))
    for part in list(tmp_path.glob("first.*")):
        part.rename(tmp_path / part.name.replace("first", prefix))
    assert read_variables(tmp_path / prefix, ["v"])["v"].tolist() == [0]
    assert find_checkpoint(str(tmp_path / prefix)).path == tmp_path / prefix


def test_a_saved_model_is_run_from_a_folder_of_any_name(exported_run: ExportedRun, tmp_path: Path) -> None:
    from boxcar.inference.open_runner import open_runner

    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    (tmp_path / "model [1]").symlink_to(exported_run.frozen)
    with open_runner(exported_run.frozen) as plain, open_runner(tmp_path / "model [1]") as odd:
        assert odd.detect(image).scores.tolist() == plain.detect(image).scores.tolist()


def test_a_uri_is_the_path_that_it_was_made_of() -> None:
    for name in ODD:
        path = Path("/data", name)
        assert local_path(path.as_uri()) == path
        assert local_path(str(path)) == path
    assert local_path("//data[1]") == Path("//data[1]")
    for wrong in ("file:///data/run#1", "file:///data/run?x"):
        with pytest.raises(BoxcarError) as error:
            local_path(wrong)
        assert error.value.code == 64 and wrong in error.value.what


def test_json_has_every_file_name(tmp_path: Path) -> None:
    replace_json(tmp_path / "found.json", [{"path": name} for name in ODD])
    assert [one["path"] for one in json.loads((tmp_path / "found.json").read_bytes())] == ODD


def test_an_image_with_a_name_in_latin_1_is_listed_like_the_others(exported_run: ExportedRun, tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a", LATIN, "c"):
        Image.new("RGB", (40, 30), (200, 10, 10)).save(tmp_path / f"{name}.jpg")
    model = exported_run.export / "tflite" / "detector_float32.tflite"
    listed, table = tmp_path / "found.json", tmp_path / "found.csv"
    drawn = tmp_path / "drawn"
    found = detect(str(model), [str(tmp_path)], json=str(listed), table=str(table), drawn=str(drawn), score=0)
    assert found.images == 3
    assert "b\\udce4r" in listed.read_text("utf-8") and "b\\udce4r" in table.read_text("utf-8")
    assert sorted(os.fsencode(path.name) for path in drawn.glob("*.jpg")) == [b"a.jpg", b"b\xe4r.jpg", b"c.jpg"]


@pytest.mark.parametrize("name", ["clip:1", "-clip", "clip%02d", "[1]", LATIN])
def test_a_video_of_any_name_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import cv2

    from boxcar.detect.sources import find_sources, read_frames

    monkeypatch.chdir(tmp_path)
    writer = cv2.VideoWriter("plain.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 5, (32, 32))
    for _ in range(3):
        writer.write(np.zeros((32, 32, 3), np.uint8))
    writer.release()
    Path("plain.mp4").rename(f"{name}.mp4")
    (source,) = find_sources([f"{name}.mp4"], None)
    assert len(list(read_frames(source))) == 3


def test_a_folder_for_results_has_a_name_in_utf_8(tmp_path: Path) -> None:
    with pytest.raises(BoxcarError) as error:
        run_all(make_configuration(None, {"data": str(tmp_path)}), str(tmp_path / LATIN), resume=False)
    assert error.value.code == 64
    assert not list(tmp_path.iterdir())


def test_a_place_has_one_name_in_all_spellings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a [1]").mkdir()
    name = str(tmp_path / "a [1]")
    spellings = [name, "a [1]", "./a [1]/", "a [1]/../a [1]", f"{tmp_path}//a [1]", Path(name).as_uri()]
    assert {make_configuration(None, {"data": one}).data for one in spellings} == {name}
    buckets = {make_configuration(None, {"init": one}).init for one in ("s3://abc/run", "s3://abc/run/")}
    assert buckets == {"s3://abc/run"}


def test_a_run_goes_on_with_the_same_images_under_another_name(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()

    def configuration(**settings: object) -> Configuration:
        return make_configuration(None, {"steps": 5, "init": "none", **settings})

    write_configuration(run, configuration(data=str(tmp_path / "old"), label_map=str(tmp_path / "old.pbtxt")))
    moved = configuration(data=str(tmp_path / "new"), label_map=str(tmp_path / "new.pbtxt"))
    assert started_run(Mirror(str(run)), moved, resume=True) == moved
    for other in (
        configuration(records=str(tmp_path / "old"), label_map=str(tmp_path / "old.pbtxt")),
        configuration(data=str(tmp_path / "old")),
        configuration(data="s3://bucket/old", label_map=str(tmp_path / "old.pbtxt")),
    ):
        with pytest.raises(Refused):
            started_run(Mirror(str(run)), other, resume=True)


def test_other_images_are_refused_and_the_run_keeps_its_own(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    own = make_configuration(None, {"records": str(write_run(tmp_path / "other") / "records"), "init": "none"})
    write_configuration(run, own)
    changed = json.loads((tmp_path / "other" / "records" / "step.json").read_bytes())
    changed["files"].popitem()
    (tmp_path / "changed").mkdir()
    for name in changed["files"]:
        (tmp_path / "changed" / name).write_bytes((tmp_path / "other" / "records" / name).read_bytes())
    replace_json(tmp_path / "changed" / "step.json", changed)
    with pytest.raises(BoxcarError) as error:
        run_all(own.model_copy(update={"records": str(tmp_path / "changed")}), str(run), resume=True)
    assert error.value.code == 64
    assert read_configuration(run) == own


def test_a_pod_gets_the_arguments_as_they_are() -> None:
    from boxcar.cluster.job import container

    words = ["records", "--data", "s3://bucket/a$$b$(HOME)"]
    args = container(ClusterSettings(), "records", "image", words, {}, bucket=False)["args"]
    assert [word.replace("$$", "$") for word in args[1:]] == words
    assert args[-1].count("$$") == 3
