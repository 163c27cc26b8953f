"""The pipeline on this machine, without Kubernetes: Kubeflow's local runner starts each step as a process.

`python -m pipelines.local --data DIR --output DIR` runs it and prints the results.
"""

import argparse
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfp import local

from boxcar.config.cluster_settings import ClusterSettings
from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.ending import read_failure
from boxcar.kfp.installation import LAUNCHER
from boxcar.process import run_component
from boxcar.report import print_summary
from boxcar.storage import local_path, make_folder
from pipelines.train_detector import train_detector


def run_locally(data: str, output: str, **parameters: Any) -> Path:
    """Runs the pipeline `train-detector` unchanged; the train step trains here instead of creating a Job.

    Args:
        data: folder with images and label files.
        output: folder that the run's folder is made in.
        parameters: further ones of the pipeline. `gpus` is "0" if not given.

    Returns:
        The run's folder.

    Raises:
        BoxcarError: with the code and the message of the step that failed.
    """
    place = make_folder(local_path(output).absolute())
    before = set(place.iterdir())
    arguments = {"data": str(local_path(data).absolute()), "output": str(place), "gpus": "0"} | parameters
    try:
        with local_runner():
            train_detector(ClusterSettings())(**arguments)
    except RuntimeError as error:  # kfp raises it for any task that failed
        failure = next((found for made in set(place.iterdir()) - before if (found := read_failure(str(made)))), None)
        if failure is None:
            what = f"The pipeline failed, and none of its steps recorded a reason: {error}"
            raise BoxcarError(ExitCode.DEFECT, what, "See the lines above.") from error
        raise BoxcarError(ExitCode(failure["code"]), failure["what"], failure["do"]) from error
    (made,) = set(place.iterdir()) - before
    return made


@contextmanager
def local_runner() -> Iterator[None]:
    """Pipelines that are called inside run on this machine, each step as a process."""
    os.environ[LAUNCHER] = "local"  # the steps' processes inherit it
    try:
        with tempfile.TemporaryDirectory() as artifacts, warnings.catch_warnings():
            # They say that steps run in no image here, and that nothing limits their memory.
            warnings.simplefilter("ignore")
            local.init(local.SubprocessRunner(use_venv=False), pipeline_root=artifacts)
            yield
    finally:
        del os.environ[LAUNCHER]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.local", description="Run the pipeline on this machine.")
    parser.add_argument("--data", required=True, help="folder with images and label files")
    parser.add_argument("--output", required=True, help="folder for runs")
    parser.add_argument("--config", default="", help="settings as YAML")
    given = parser.parse_args()

    def work() -> None:
        print_summary(str(run_locally(given.data, given.output, config=given.config)))

    run_component("pipeline-local", work)


if __name__ == "__main__":
    main()
