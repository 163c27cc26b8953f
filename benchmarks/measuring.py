"""What every benchmark needs: child processes with their peak memory, the data, and rows of a table."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BENCH = ROOT / ".bench"
SHARED = Path(os.environ.get("BOXCAR_SHARED", ROOT.parent / "shared"))
BOXCAR = [sys.executable, "-m", "boxcar"]
API = ROOT / "benchmarks" / "object_detection_api"
API_PYTHON = BENCH / "object_detection_api" / "bin" / "python"
YOLO_PYTHON = BENCH / "ultralytics" / "bin" / "python"

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"  # TensorFlow turns it on by itself on CPUs with AVX-512 only


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: was measured.
        ours, theirs: the figures with their units; `theirs` may be what is compared with.
        ratio: how they compare, as text.
        asked: the least that is asked, as text; empty where nothing is.
        reached: None where nothing is asked.
    """

    what: str
    ours: str
    theirs: str
    ratio: str = ""
    asked: str = ""
    reached: bool | None = None


@dataclass
class Result:
    """What a benchmark found: rows, and sentences on how it was measured."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Ended:
    """A child that ended well: its standard output, seconds and most resident memory in MB."""

    output: str
    seconds: float
    megabytes: float


def run(
    command: list[Any],
    *,
    onednn: bool | None = None,
    environment: dict[str, str] | None = None,
    watch: Callable[[], None] | None = None,
) -> Ended:
    """Runs a child to its end; ends this program where it fails.

    Args:
        command: program and arguments.
        onednn: None leaves TensorFlow at its defaults, and Boxcar at its own.
        environment: variables beside those of this process.
        watch: called ten times a second while the child runs.
    """
    variables = {name: value for name, value in os.environ.items() if name != ONEDNN}
    # This checkout's code, whatever the environment was laid down from.
    variables |= {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})}
    if onednn is not None:
        variables[ONEDNN] = str(int(onednn))
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        child = subprocess.Popen([str(part) for part in command], stdout=output, stderr=errors, env=variables, cwd=ROOT)
        try:
            while True:
                pid, status, usage = os.wait4(child.pid, os.WNOHANG)
                if pid:
                    break
                if watch is not None:
                    watch()
                time.sleep(0.1)
        except BaseException:
            child.kill()
            raise
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
        if child.returncode:
            errors.seek(0)
            last = errors.read()[-3000:].decode(errors="replace")
            sys.exit(f"{' '.join(str(part) for part in command)} ended with {child.returncode}:\n{text[-1000:]}{last}")
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return Ended(text, seconds, usage.ru_maxrss / unit)


def answer(ended: Ended) -> dict[str, Any]:
    """The JSON object that a child of ours printed as its last line."""
    result: dict[str, Any] = json.loads(ended.output.strip().splitlines()[-1])
    return result


def say(sentence: str) -> None:
    print(sentence, flush=True)


@contextmanager
def scratch() -> Any:
    """A folder for one measurement."""
    BENCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BENCH) as name:
        yield Path(name)


def photographs() -> tuple[Path, str]:
    """Records of 200 photographs, or of drawn pictures where those are not at hand; and what they are. Made once."""
    raccoon = SHARED / "datasets" / "raccoon"
    if raccoon.is_dir():
        return _records("raccoon", raccoon), "the raccoon data set, 200 photographs"
    return shapes_records(200, 320), "200 drawn images of 320 px (BOXCAR_SHARED names no folder with datasets/raccoon)"


def shapes_records(pictures: int, size: int) -> Path:
    """Records of `boxcar shapes`. Made once."""
    return _records(f"shapes-{pictures}-{size}", shapes_data(pictures, size))


def shapes_data(pictures: int, size: int) -> Path:
    """The labeled images of `boxcar shapes`. Made once."""
    data = BENCH / "data" / f"shapes-{pictures}-{size}-pictures"
    if not data.is_dir():
        run([*BOXCAR, "shapes", "--output", data, "--pictures", pictures, "--image-size", size])
    return data


def _records(name: str, data: Path) -> Path:
    records = BENCH / "data" / name
    run([*BOXCAR, "records", "--data", data, "--output", records])  # does nothing where they are there
    return records


def new_run(folder: Path, records: Path) -> Path:
    """A run's folder with these records."""
    shutil.copytree(records, folder / "records")
    return folder


def history(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's train/history.jsonl."""
    path = folder / "train" / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def median(values: list[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
