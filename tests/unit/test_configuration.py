"""The one typed configuration: YAML in, validated once, unknown keys refused."""

from pathlib import Path
from typing import Any

import pytest

from boxcar.config.run_settings import Configuration, make_configuration, read_configuration, write_configuration
from boxcar.errors import BoxcarError
from boxcar.run.layout import CONFIGURATION

ARCHITECTURE = "ssd_mobilenet_v2_fpnlite_320x320"


def refused(file: Path | None, given: dict[str, Any]) -> BoxcarError:
    with pytest.raises(BoxcarError) as error:
        make_configuration(file, given)
    assert error.value.code == 64
    return error.value


def yaml(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_defaults_need_nothing() -> None:
    configuration = make_configuration(None, {})
    assert configuration.size == 320
    assert configuration.formats == ("tflite_float32", "tflite_int8", "tfjs_float32")
    assert configuration.init is None
    assert configuration.data is None


def test_options_beat_the_file_and_the_file_beats_defaults(tmp_path: Path) -> None:
    file = yaml(tmp_path, "steps: 50\nimage_size: 128\nseed: 3\n")
    configuration = make_configuration(file, {"steps": 70, "image_size": None})
    assert (configuration.steps, configuration.size, configuration.seed, configuration.batch_size) == (70, 128, 3, None)
    assert make_configuration(yaml(tmp_path, ""), {}) == make_configuration(None, {})


def test_each_limit_is_an_option_of_its_own(tmp_path: Path) -> None:
    file = yaml(tmp_path, "limits: {mean_iou: 0.7, megabytes: 4}\n")
    limits = make_configuration(file, {"limits": {"megabytes": "5.5"}}).limits
    assert (limits.mean_iou, limits.megabytes, limits.ap50_loss, limits.milliseconds) == (0.7, 5.5, 0.02, None)
    assert "There is no setting limits.speed" in refused(None, {"limits": {"speed": 1}}).what
    assert "ap50_loss" in refused(None, {"limits": {"speed": 1}}).do
    assert "limits.mean_iou cannot be 'much'" in refused(None, {"limits": {"mean_iou": "much"}}).what
    assert "limits.matched cannot be 'yes'" in refused(yaml(tmp_path, "limits: {matched: yes}"), {}).what


def test_the_file_that_is_kept_begins_with_the_data_and_says_all(tmp_path: Path) -> None:
    kept = make_configuration(None, {"data": str(tmp_path), "limits": {"megabytes": 4}})
    write_configuration(tmp_path, kept)
    assert (tmp_path / CONFIGURATION).read_text().splitlines()[1].startswith("data: ")
    assert read_configuration(tmp_path) == kept


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("stepz: 5", "stepz"),
        ("steps: many", "steps"),
        ("steps: 2.5", "steps"),
        ("steps: 0", "steps"),
        ("steps: yes", "steps"),
        ("steps: [5]", "steps"),
        ("batch_size: 4096", "batch_size"),
        ("learning_rate: -1", "learning_rate"),
        ("learning_rate: .inf", "learning_rate"),
        ("learning_rate: .nan", "learning_rate"),
        ("seed: -1", "seed"),
        ("data: 5", "data"),
        ("on_fault: perhaps", "on_fault"),
        ("validation_fraction: 0.7", "validation_fraction"),
        ("formats: tflite_float64", "formats"),
        ("formats: {a: b}", "formats"),
        ("formats: []", "formats"),
        ("augmentations: [spin]", "augmentations"),
        ("augmentations: [mosaic, colour, mosaic]", "each augmentation once"),
        ("1: 2", "1"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, key: str) -> None:
    error = refused(yaml(tmp_path, text), {})
    assert key in error.what


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("image-size: 320", "image_size"),
        ("stepz: 5", "steps"),
        ("Batch_Size: 5", "batch_size"),
        ("limits: {mean-iou: 1}", "limits.mean_iou"),
        ("megabytes: 4", "limits.megabytes"),
        ("gate: {steps: 4}", "steps"),
        ("gate: {min_gian: 0}", "gate.min_gain"),
    ],
)
def test_one_near_name_is_suggested(tmp_path: Path, text: str, near: str) -> None:
    do = refused(yaml(tmp_path, text), {}).do
    assert near in do.replace(",", " ").split()
    assert len(do.split()) < 8


def test_the_page_with_all_settings_is_named_if_none_is_near(tmp_path: Path) -> None:
    error = refused(yaml(tmp_path, "zzz: 5"), {})
    assert "configuration.md" in error.do and "image_size" not in error.do


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("steps: 0100", {"steps": 100}),
        ("seed: 007", {"seed": 7}),
        ("steps: 0x10", {"steps": 16}),
        ("steps: 1_000", {"steps": 1000}),
        ("learning_rate: 1e-3", {"learning_rate": 0.001}),
        ("xla: yes", {"xla": True}),
        ("xla: off", {"xla": False}),
        ("records: /2024-05-01", {"records": "/2024-05-01"}),
        ("cluster: {namespace: on}", {}),
        ("gate: {class_floors: {no: 0.5, yes: 0.25}}", {}),
    ],
)
def test_settings_are_taken_as_written(tmp_path: Path, text: str, values: dict[str, Any]) -> None:
    found = make_configuration(yaml(tmp_path, text), {})
    assert {name: getattr(found, name) for name in values} == values
    if "class_floors" in text:
        assert found.gate.class_floors == {"no": 0.5, "yes": 0.25}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("steps: 1:30", "1:30"),
        ("learning_rate: 1:30.5", "1:30.5"),
        ("steps: 0b11", "0b11"),
        ("seed: 2024-05-01", "2024-05-01"),
        ("steps: 4000\nseed: 1\nsteps: 5", "steps"),
        ("limits: {megabytes: 1, 'megabytes': 2}", "megabytes"),
        ("gate: {class_floors: {1: 0.5, 0x1: 0.4}}", "0x1"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_its_name(tmp_path: Path, text: str, word: str) -> None:
    assert word in refused(yaml(tmp_path, text), {}).what


def test_a_key_beside_a_merged_one_is_not_there_twice(tmp_path: Path) -> None:
    text = "limits: &some {megabytes: 4, matched: 0.5}\n"
    merged = "limits:\n  <<: {megabytes: 4, matched: 0.5}\n  megabytes: 5\n"
    assert make_configuration(yaml(tmp_path, text), {}).limits.megabytes == 4
    limits = make_configuration(yaml(tmp_path, merged), {}).limits
    assert (limits.megabytes, limits.matched) == (5, 0.5)


def test_every_wrong_setting_has_a_line(tmp_path: Path) -> None:
    error = refused(yaml(tmp_path, "steps: 0\nseed: -1\ncolour: red\n"), {})
    words = ["steps cannot be 0", "seed cannot be -1", "There is no setting colour"]
    assert [line.split(":")[0] for line in error.details] == words


@pytest.mark.parametrize(
    "content",
    [
        b"- steps\n- 5\n",
        b"steps",
        b"\x00\x01\x02",
        b"\xff\xfe\xfd",
        b"steps: [",
        b"steps: !!python/object/apply:os.system [ls]",
        b"[" * 20_000,
        b"? [1]\n: 2",
    ],
    ids=["list", "word", "control", "latin", "cut", "python", "deep", "list as key"],
)
def test_what_is_no_mapping_in_yaml_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    error = refused(yaml(tmp_path, content), {})
    assert "settings.yaml" in error.what
    assert "\n" not in error.what


@pytest.mark.parametrize("name", ["nothing.yaml", "."])
def test_a_file_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path, name: str) -> None:
    assert str(tmp_path / name) in refused(tmp_path / name, {}).what


@pytest.mark.parametrize("size", [0, 1, 32, 100, 333, 2080, -64])
def test_an_image_size_the_architecture_cannot_read(size: int) -> None:
    assert str(size) in refused(None, {"image_size": size}).what


@pytest.mark.parametrize("size", [64, 128, 320, 2048])
def test_an_image_size_it_can_read(size: int) -> None:
    assert make_configuration(None, {"image_size": size}).size == size


def test_an_unknown_architecture_is_answered_with_those_there_are() -> None:
    error = refused(None, {"architecture": "yolo"})
    assert "yolo" in error.what
    assert ARCHITECTURE in error.do


@pytest.mark.parametrize("value", ["saved_model, tflite_int8,", ["saved_model", "tflite_int8"], ("saved_model", "tflite_int8")])
def test_formats_as_a_list_and_with_commas(value: Any) -> None:
    assert make_configuration(None, {"formats": value}).formats == ("saved_model", "tflite_int8")


@pytest.mark.parametrize("value", ["all", ["all"], "tflite_int8,all"])
def test_all_formats_are_every_one_but_the_savedmodel(value: Any) -> None:
    wanted = {f"tflite_{one}" for one in ("float32", "float16", "dynamic", "int8", "float32_nms", "int8_nms")}
    wanted |= {f"tfjs_{one}" for one in ("float32", "float16", "uint8")}
    formats = make_configuration(None, {"formats": value}).formats
    assert set(formats) == wanted and len(formats) == len(wanted)


def test_paths_become_absolute_wherever_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = yaml(tmp_path, "data: pictures\nlabel_map: file:///maps/a.pbtxt\n")
    configuration = make_configuration(file, {"init": "zoo/ckpt-0"})
    assert configuration.data == str(tmp_path / "pictures")
    assert configuration.init == str(tmp_path / "zoo" / "ckpt-0")
    assert configuration.label_map == "/maps/a.pbtxt"
    assert make_configuration(None, {"data": "~/x", "init": "none"}).data == str(Path.home() / "x")


def test_a_run_keeps_its_configuration(tmp_path: Path) -> None:
    assert read_configuration(tmp_path) is None
    for configuration in (
        Configuration(),
        Configuration(
            data="/Bilder/Bären", steps=5, formats=("saved_model",), augmentations=("scale_jitter",), learning_rate=1e-5
        ),
    ):
        write_configuration(tmp_path, configuration)
        assert read_configuration(tmp_path) == configuration
    (tmp_path / CONFIGURATION).write_text("stepz: 1")
    with pytest.raises(BoxcarError, match="stepz"):
        read_configuration(tmp_path)
