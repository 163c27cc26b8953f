"""The documentation: every link leads somewhere, every command that it shows is one, and its tables are complete."""

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from typer.exceptions import TyperException

from boxcar.cli.main import app
from boxcar.config.cluster_settings import ClusterSettings
from boxcar.config.conversion_settings import Limits
from boxcar.config.gate_settings import GateSettings
from boxcar.config.retraining_settings import RetrainingSettings
from boxcar.config.run_settings import Configuration
from boxcar.detectors.architecture import CONVERSIONS
from boxcar.errors import ExitCode
from boxcar.records.faults import Kind
from boxcar.scoring.bootstrap import RESAMPLES
from boxcar.storage import bucket_location

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
TABLES = {"limits": Limits, "cluster": ClusterSettings, "gate": GateSettings, "retraining": RetrainingSettings}


def _tracked() -> list[Path]:
    """Files of the repository, the new ones too; of a checkout without git, those that documentation lies in."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]
    folders = ("docs", "charts", "examples", "images", "boxcar", "benchmarks", "k8s")
    return [*ROOT.glob("*.md"), ROOT / "Makefile", *(p for f in folders for p in (ROOT / f).rglob("*") if p.is_file())]


FILES = _tracked()
PAGES = [path for path in FILES if path.suffix == ".md"]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _text(page: Path, *, code: bool) -> str:
    """A page's text with or without its fenced blocks and inline code."""
    text = page.read_text(encoding="utf-8")
    return text if code else re.sub(r"`[^`\n]*`", "", re.sub(r"(?ms)^ *```.*?^ *```", "", text))


def _anchors(page: Path) -> set[str]:
    """What GitHub makes of the page's headings."""
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", page.read_text(encoding="utf-8"))
    headings = re.findall(r"(?m)^#+ +(.*?) *$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _text(page, code=False)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} is not there"
        if anchor:
            assert anchor in _anchors(there), f"{target}: there is no such heading"


def test_every_page_that_code_names_is_there() -> None:
    named = {}
    for path in FILES:
        if path.suffix in {".png", ".npz", ".jpg"} or path == Path(__file__):
            continue
        for found in re.findall(r"\bdocs/[\w./-]+\.md", path.read_text(encoding="utf-8", errors="replace")):
            named[found] = path
    assert named
    for found, path in named.items():
        assert (ROOT / found).is_file(), f"{_name(path)} names {found}"


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name != "README.md":
            assert f"({page.relative_to(ROOT / 'docs').as_posix()})" in index, f"{page.name} is not in docs/README.md"


def _shown_commands(page: Path) -> Iterator[list[str]]:
    """The words of every `boxcar ...` line in a page's blocks of code."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"(?ms)^ *```sh\n(.*?)^ *```", text):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words = words[1:]
            if words and words[0] in ("boxcar", ".venv/bin/boxcar"):
                yield words[1:]


COMMANDS = [(page, words) for page in PAGES for words in _shown_commands(page)]


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=lambda value: _name(value) if isinstance(value, Path) else "-".join(value[:2])
)
def test_every_command_that_is_shown_can_be_given(page: Path, words: list[str]) -> None:
    try:
        command: Any = typer.main.get_command(app)
        while nested := getattr(command, "commands", None):
            assert words[0] in nested, f"there is no command {words[0]}"
            command, words = nested[words[0]], words[1:]
        command.make_context("boxcar", list(words))
    except TyperException as error:
        pytest.fail(str(error))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_bucket_that_is_named_is_one_that_boxcar_accepts(page: Path) -> None:
    for uri in re.findall(r"\b(?:s3|gs)://[\w-][\w.-]*", page.read_text(encoding="utf-8")):
        assert bucket_location(uri) is not None


def test_commands_are_shown_at_all() -> None:
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_and_option_in_a_sentence_exists(page: Path) -> None:
    for code in re.findall(r"`boxcar ([a-z][^`\n]*)`", page.read_text(encoding="utf-8")):
        command: Any = typer.main.get_command(app)
        words = code.split()
        while words and (nested := getattr(command, "commands", None)):
            assert words[0] in nested, f"`boxcar {code}`: there is no command {words[0]}"
            command, words = nested[words[0]], words[1:]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
        for word in words:
            if word.startswith("-"):
                assert word in known, f"`boxcar {code}`: there is no {word}"


def test_every_option_in_a_sentence_is_one_of_some_command() -> None:
    known = {"--help", "--version"}
    for path, command in _document().commands_of(typer.main.get_command(app), "boxcar"):
        parameters = command.get_params(command.make_context(path, [], resilient_parsing=True))
        known |= {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for code in re.findall(r"`(--[a-z][a-z0-9-]*)[^`\n]*`", page.read_text(encoding="utf-8")):
            assert code in known or code in {"--set-file"}, f"{_name(page)} names {code}"


def _document() -> Any:
    specification = importlib.util.spec_from_file_location("document_cli", ROOT / "docs" / "document_cli.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_reference_of_commands_is_what_help_says() -> None:
    assert (REFERENCE / "cli.md").read_text(encoding="utf-8") == _document().cli_page(), "run `make cli-reference`"


def _rows(page: Path, heading: str) -> dict[str, str]:
    """The first column's names of a section's tables, each with its row."""
    section = re.split(rf"(?m)^#+ {re.escape(heading)}$", page.read_text(encoding="utf-8"))[1]
    section = re.split(r"(?m)^#+ ", section)[0]
    return {
        name: row
        for row in re.findall(r"(?m)^\| .*\|$", section)
        for name in re.findall(r"`([^`]+)`", re.split(r"(?<!\\)\|", row)[1])
    }


def test_every_setting_is_in_the_reference_with_its_default() -> None:
    page = REFERENCE / "configuration.md"
    headings = {"Gate": GateSettings, "Retraining": RetrainingSettings, "Cluster": ClusterSettings}
    own = {name for heading in ("Data", "Model", "Training", "Conversion") for name in _rows(page, heading)}
    assert own == set(Configuration.model_fields) - {"cluster", "gate", "retraining"}
    for heading, settings in headings.items():
        assert set(_rows(page, heading)) >= set(settings.model_fields), heading
    rows = [
        (_rows(page, heading), settings)
        for heading, settings in [
            *headings.items(),
            *((heading, Configuration) for heading in ("Data", "Model", "Training", "Conversion")),
        ]
    ]
    for shown, settings in rows:
        for name, row in shown.items():
            field = settings.model_fields.get(name)
            if field is not None and type(field.default) in (int, float, str):
                default = field.default
                text = f"{default:g}" if isinstance(default, float) else str(default)
                assert text in row or name == "image_tag", f"{name}: the default is {text}"


def test_every_limit_is_in_the_reference_with_its_default() -> None:
    rows = _rows(REFERENCE / "exported-files.md", "Limits")
    assert set(rows) >= set(Limits.model_fields)
    for name, field in Limits.model_fields.items():
        assert ("none" if field.default is None else f"{field.default:g}") in rows[name], name


def test_every_format_is_in_the_reference() -> None:
    assert set(CONVERSIONS) <= set(_rows(REFERENCE / "exported-files.md", "Exported files"))


def test_every_kind_of_fault_is_in_the_reference() -> None:
    assert set(_rows(REFERENCE / "data-folder.md", "Faults")) == set(get_args(Kind))


def test_every_exit_code_is_in_the_reference() -> None:
    rows = re.findall(r"(?m)^\| (\d+) \| (\w+) \|", (REFERENCE / "exit-codes.md").read_text(encoding="utf-8"))
    assert {(int(code), name) for code, name in rows} == {(int(code), code.name.lower()) for code in ExitCode}


@pytest.mark.parametrize("pipeline", ["train-detector", "retrain-if-changed", "convert-only"])
def test_every_parameter_of_a_pipeline_is_in_the_reference(pipeline: str) -> None:
    compiled = ROOT / "pipelines" / "compiled" / f"{pipeline.replace('-', '_')}.yaml"
    inputs = next(yaml.safe_load_all(compiled.read_text(encoding="utf-8")))["root"]["inputDefinitions"]["parameters"]
    page = REFERENCE / "pipeline-parameters.md"
    rows = _rows(page, pipeline)
    section = re.split(rf"(?m)^## {pipeline}$", page.read_text(encoding="utf-8"))[1].split("\n## ")[0]
    named = set(re.findall(r"`([a-z_]+)`", section))
    assert set(rows) <= set(inputs)
    assert set(inputs) <= named


def test_the_figures_of_the_gate_are_those_of_the_code() -> None:
    assert f"{RESAMPLES:,} samples" in (REFERENCE / "model-registry.md").read_text(encoding="utf-8")
