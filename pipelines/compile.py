"""Compiles the pipelines into files to upload: `python -m pipelines.compile` writes them to `compiled/`."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import compiler

from boxcar.config.cluster_settings import ClusterSettings
from boxcar.config.run_settings import make_configuration
from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.package import compiled_folder
from boxcar.process import run_component
from boxcar.storage import make_folder, replace_text
from pipelines.convert_only import convert_only
from pipelines.retrain_if_changed import retrain_if_changed
from pipelines.train_detector import train_detector

_COMPILED = b"# PIPELINE DEFINITION\n"  # how kfp's files begin
PIPELINES: dict[str, Callable[[ClusterSettings], Any]] = {
    "train_detector": train_detector,
    "convert_only": convert_only,
    "retrain_if_changed": retrain_if_changed,
}


def compile_pipeline(name: str, images: ClusterSettings) -> str:
    """The text of a pipeline's file: its definition, and in a second document its Kubernetes settings."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(PIPELINES[name](images), str(path))
        return path.read_text(encoding="utf-8")


def compile_all(folder: Path, images: ClusterSettings) -> None:
    """Writes every pipeline into a folder.

    Raises:
        BoxcarError: 64 if a file there is not a compiled pipeline; 69 if they cannot be written.
    """
    places = {name: folder / f"{name}.yaml" for name in PIPELINES}
    for path in places.values():
        if path.exists() and not path.read_bytes().startswith(_COMPILED):
            what = f"{path} is not a compiled pipeline, and would be replaced by one."
            raise BoxcarError(ExitCode.USAGE, what, "Choose another --output.")
    make_folder(folder)
    for name, path in places.items():
        replace_text(path, compile_pipeline(name, images))


def main() -> None:
    """The command."""
    defaults = ClusterSettings()
    parser = argparse.ArgumentParser(prog="python -m pipelines.compile", description="Compile the pipelines.")
    parser.add_argument("--output", type=Path, default=compiled_folder(), help="folder for the files (%(default)s)")
    parser.add_argument(
        "--repository", default=defaults.image_repository, help="registry of the container images (%(default)s)"
    )
    parser.add_argument("--tag", default=defaults.image_tag, help="tag of the container images (%(default)s)")
    parser.add_argument(
        "--digest", action="append", default=[], metavar="NAME=sha256:...", help="use this digest for the image NAME"
    )
    given = parser.parse_args()
    digests = dict(text.partition("=")[::2] for text in given.digest)
    images = {"image_repository": given.repository, "image_tag": given.tag, "image_digests": digests}
    run_component("compile", lambda: compile_all(given.output, make_configuration(None, {"cluster": images}).cluster))


if __name__ == "__main__":
    main()
