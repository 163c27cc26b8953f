"""Opens any exported file: a SavedModel, a TFLite file, a TensorFlow.js folder.

Importing this loads none of the three runtimes; each runner loads what it needs when it is opened.
"""

from pathlib import Path

from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.embedded import check_labels
from boxcar.inference.runner import Runner
from boxcar.inference.saved_model import SavedModelRunner
from boxcar.inference.specification import read_specification
from boxcar.inference.tfjs import TFJSRunner
from boxcar.inference.tflite import open_tflite


def open_runner(path: Path, threads: int = 2) -> Runner:
    """Loads an exported detector.

    Args:
        path: the folder that `freeze` wrote or the SavedModel in it, a `.tflite` file, or a folder with a `model.json`;
            `detector.json` is in that folder, or next to the `.tflite` file or the SavedModel.
        threads: the number of CPU threads. TensorFlow keeps the number it was started with. TensorFlow.js always uses one,
            because its threads do not work in Node.

    Raises:
        BoxcarError: 64 if there is no such file, 65 if it cannot be loaded or does not fit its `detector.json`, 69 if the
            program that runs it is not installed.
    """
    if path.is_file() and path.suffix == ".tflite":
        specification = read_specification(path.parent)
        # Before it is loaded: TFLite reads beyond the end of a file that is cut short.
        check_labels(path, specification)
        return open_tflite(path, specification, threads)
    if (path / "model.json").is_file():
        return _labels_checked(TFJSRunner(path, read_specification(path)))
    inside = path / "saved_model"
    saved_model = inside if (inside / "saved_model.pb").is_file() else path
    if (saved_model / "saved_model.pb").is_file():
        return _labels_checked(SavedModelRunner(saved_model, read_specification(saved_model.parent), threads))
    raise BoxcarError(
        ExitCode.USAGE,
        f"{path} is not an exported detector.",
        "Give a .tflite file, a folder with a model.json, or the folder that `boxcar freeze` wrote.",
    )


def _labels_checked(runner: Runner) -> Runner:
    """The runner, if its file and its `detector.json` name the classes alike."""
    try:
        check_labels(runner.path, runner.specification)
    except BoxcarError:
        runner.close()
        raise
    return runner
