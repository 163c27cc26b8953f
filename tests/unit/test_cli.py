"""The command as a person meets it: exit codes, last words, and what it loads.

Processes of their own show how a command starts and ends; many cases of one kind are called in the tests' own.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import boxcar, boxcar_here, last_words

FIRST_DAY = ("doctor", "shapes", "run", "detect", "demo-page")
LATER = (
    *("records", "convert-labels", "train", "evaluate", "freeze", "convert", "report"),
    *("architectures", "retrain", "models", "runs", "show", "sign", "verify", "submit", "schedule"),
)
OF_PODS = ("fetch", "upload", "follow", "take-records")
COMMANDS = (*FIRST_DAY, *LATER, *OF_PODS)


def loaded(*arguments: str) -> set[str]:
    """Names of the modules that a command has loaded when it ends."""
    program = (
        "import sys\n"
        "from boxcar.cli.main import main\n"
        "sys.argv = ['boxcar', *sys.argv[1:]]\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "finally:\n    print('LOADED', *sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_shows_every_command_and_loads_nothing_heavy() -> None:
    shown = boxcar("--help")
    assert shown.returncode == 0
    assert shown.stderr == ""
    listed = re.findall(r"^  ([a-z][a-z-]*)  +\S", shown.stdout, re.MULTILINE)
    assert tuple(listed[: len(FIRST_DAY)]) == FIRST_DAY
    assert sorted(listed) == sorted(FIRST_DAY + LATER)
    heavy = {"tensorflow", "tf_keras", "numpy", "yaml", "PIL", "jinja2", "boxcar.config", "boxcar.detectors"}
    assert not (heavy | {"pydantic", "rich", "asyncio"}) & loaded("--help")
    assert not {"tensorflow", "tf_keras", "numpy", "PIL", "jinja2"} & loaded("run", "--help")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    shown = boxcar_here(command, "--help")
    assert shown.returncode == 0
    assert "--" in shown.stdout
    # No option without a word on it.
    assert not re.search(r"^\s+--[a-z-]+(?: +[A-Z|a-z\[\]]+)?\s*(?:\[required\])?$\n\s+--", shown.stdout, re.MULTILINE), (
        shown.stdout
    )


def test_records_and_shapes_never_load_tensorflow(tmp_path: Path) -> None:
    for modules in (
        loaded("shapes", "--output", str(tmp_path / "shapes"), "--pictures", "8", "--image-size", "64"),
        loaded("records", "--data", str(tmp_path / "shapes"), "--output", str(tmp_path / "records")),
    ):
        assert "PIL" in modules
        assert not {"tensorflow", "tf_keras", "official"} & modules
    assert (tmp_path / "records" / "step.json").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--no-such-option",), "--no-such-option"),
        (("dance",), "dance"),
        (("run", "--output", "{tmp}/run", "--epochs", "5"), "--epochs"),
        (("run", "--data", "{tmp}"), "--output"),
        (("run", "--output", "{tmp}/run"), "--data"),
        (("run", "--data", "{tmp}/no-such-folder", "--output", "{tmp}/run"), "no-such-folder"),
        (("run", "--data", "{tmp}", "--output", "gs://no/bucket"), "gs://no/bucket"),
        (("run", "--data", "{tmp}", "--output", "{tmp}/run", "--architecture", "yolo"), "yolo"),
        (("run", "--data", "{tmp}", "--output", "{tmp}/run", "--image-size", "100"), "100"),
        (("run", "--data", "{tmp}", "--output", "{tmp}/run", "--image-size", "big"), "--image-size"),
        (("run", "--data", "{tmp}", "--output", "{tmp}/run", "--formats", "onnx"), "formats"),
        (("run", "--data", "{tmp}", "--output", "{tmp}/run", "--on-fault", "cry"), "cry"),
        (("run", "--data", "{tmp}", "--output", "{tmp}/run", "--init", "{tmp}/ckpt-0"), "ckpt-0"),
        (("run", "--data", "{tmp}", "--output", "{tmp}/run", "--config", "{tmp}/no.yaml"), "no.yaml"),
        (("run", "--data", "{tmp}", "--output", "{tmp}/run", "--config", "{tmp}/binary.yaml"), "binary.yaml"),
        (("records", "--data", "{tmp}/no-such-folder", "--output", "{tmp}/records"), "no-such-folder"),
        (("train", "--run", "{tmp}/nothing"), "records"),
        (("evaluate", "--run", "{tmp}/nothing"), "records"),
        (("freeze", "--architecture", "yolo", "--checkpoint", "{tmp}/ckpt-0", "--output", "{tmp}/m"), "yolo"),
        (("convert", "--saved-model", "{tmp}/no", "--records", "{tmp}/no", "--output", "{tmp}/m"), "no"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_64_and_names_what_is_wrong(tmp_path: Path, arguments: tuple[str, ...], word: str) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\x00\xff")
    before = sorted(tmp_path.rglob("*"))
    done = boxcar_here(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert word in last_words(done, 64)
    made = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
    assert {path.name for path in made} <= {"run", ".lock", "failure.json"}


def test_a_process_ends_with_the_code() -> None:
    assert "--no-such-option" in last_words(boxcar("--no-such-option"), 64)
    assert "--output" in last_words(boxcar("run", "--data", "."), 64)


def test_an_empty_data_folder_is_65_and_the_run_says_so_too(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run = tmp_path / "run"
    command = ("run", "--data", str(tmp_path / "empty"), "--output", str(run))
    line = last_words(boxcar(*command), 65)
    failure = json.loads((run / "failure.json").read_text())
    assert set(failure) == {"step", "code", "what", "do", "at"}
    assert failure["code"] == 65
    assert line == f"{failure['what']} {failure['do']}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", failure["at"])
    # Nothing was begun: the same command is not told to add --resume.
    assert last_words(boxcar_here(*command), 65) == line


def test_a_folder_of_somebody_else_gets_no_files_of_ours(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("mine")
    for command in (
        ("run", "--data", str(tmp_path), "--output", str(tmp_path)),
        ("records", "--data", str(tmp_path), "--output", str(tmp_path)),
        ("train", "--run", str(tmp_path)),
        ("report", "--run", str(tmp_path)),
    ):
        assert boxcar_here(*command).returncode in (64, 65)
        assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"], command


def test_no_permission_is_69(tmp_path: Path) -> None:
    line = last_words(boxcar("shapes", "--output", "/proc/boxcar/shapes", "--pictures", "8"), 69)
    assert "/proc" in line


def test_a_command_that_computed_does_not_wait_for_the_interpreters_own_end() -> None:
    program = (
        "import atexit, sys, types\n"
        "from boxcar.cli.main import main\n"
        "atexit.register(print, 'taken apart')\n"
        "if sys.argv.pop() == 'computed':\n    sys.modules['tensorflow'] = types.ModuleType('tensorflow')\n"
        "main()\n"
    )
    for computed, ending in (("computed", ""), ("not", "taken apart\n")):
        command = [sys.executable, "-c", program, "--version", computed]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(rf"boxcar \d+\.\d+\.\d+\n{ending}", done.stdout)


def test_version() -> None:
    assert re.fullmatch(r"boxcar \d+\.\d+\.\d+\n", boxcar("--version").stdout)


def _help(*command: str) -> str:
    return " ".join(boxcar_here(*command, "--help").stdout.split())


def test_the_help_of_a_run_has_each_setting_with_its_choices_and_its_default() -> None:
    from boxcar.config.conversion_settings import Conversion, Limits
    from boxcar.config.run_settings import Configuration
    from boxcar.detectors.architecture import EXPORTS

    text = _help("run")
    for name in (*EXPORTS, *Limits.model_fields, "sgd", "adamw", "rollback", "skip", "uint8", "`boxcar architectures`"):
        assert name in text
    sections = [text.index(title) for title in ("Options:", "Data:", "Training:", "Exported files:", "Example: boxcar run")]
    assert sections == sorted(sections)
    for name in (*Conversion.model_fields, "architecture", "optimizer", "on_divergence", "on_fault", "seed"):
        field = Configuration.model_fields[name]
        option = "--limit" if name == "limits" else "--" + name.replace("_", "-")
        shown = text.partition(f" {option} ")[2].partition(" --")[0]
        assert field.description is not None and field.description.split(".")[0] in shown, name
        if name != "limits":
            default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
            assert f"[default: {default}]" in shown, name


def test_the_help_of_the_gate_has_its_defaults() -> None:
    from boxcar.config.gate_settings import GateSettings

    text = _help("models", "promote")
    for name in ("format", "min_gain", "confidence", "threads"):
        shown = text.partition(f" --{name.replace('_', '-')} ")[2].partition(" --")[0]
        assert f"[default: {GateSettings.model_fields[name].default}]" in shown, name
    assert "--class-floor CLASS=AP50" in text and "--no-accept-new-classes" not in text


def test_settings_are_options_of_the_commands_that_read_them(tmp_path: Path) -> None:
    given = ("--saved-model", str(tmp_path), "--records", str(tmp_path), "--output", str(tmp_path / "out"))
    for arguments, words in (
        (("--limit", "mean_iou"), "--limit mean_iou has no value"),
        (("--limit", "mean_iou=0.7", "--limit", "mean_iou=0.8"), "--limit mean_iou is given twice"),
        (("--limit", "mean_iou=2"), "limits.mean_iou cannot be '2'"),
        (("--limit", "mean_iou=0.7", "--limit", "iou=1"), "There is no setting limits.iou"),
        (("--int8-max-drop", "-1"), "int8_max_drop cannot be -1"),
        (("--int8-pictures", "0"), "int8_pictures cannot be 0"),
        (("--parity-pictures", "0"), "parity_pictures cannot be 0"),
        (("--int8-input", "int8"), "int8"),
        (("--limit", "mean_iou=0.7", "--int8-input", "uint8"), "holds no finished freeze step"),
    ):
        done = boxcar_here("convert", *given, *arguments)
        assert done.returncode == 64
        assert words in done.stderr, done.stderr


def test_the_architectures_are_listed_without_tensorflow() -> None:
    from boxcar.detectors.catalog import ARCHITECTURES

    shown = boxcar("architectures")
    assert shown.returncode == 0, shown.stderr
    for row in ARCHITECTURES.values():
        line = next(line for line in shown.stdout.splitlines() if line.startswith(f"{row.name} "))
        assert line.split()[1:3] == [str(row.image_size), "px"]
        assert line.split()[-1] == str(row.average_precision)
        text = " ".join(shown.stdout.split())
        assert all(" ".join(words.split()) in text for words in (row.source, row.zoo_loads, ", ".join(row.exports)))
    assert not {"tensorflow", "tf_keras", "official"} & loaded("architectures")
