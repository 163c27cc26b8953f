"""Builds the project's images with the test cluster's `cluster image`, into buildah's store."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from boxcar import __version__

ROOT = Path(__file__).parents[2]
CLUSTER = Path(os.environ.get("BOXCAR_SHARED", ROOT.parent / "shared")).resolve() / "cluster" / "cluster"
IMAGES = ("records", "train", "convert", "ops", "tensorboard")


def image_name(name: str, tag: str) -> str:
    return f"docker.io/boxcar/{name}:{tag}"


def build_images(names: Iterable[str], tag: str) -> dict[str, str]:
    """The images of these names, each under its full name. What has not changed since an earlier build is not built again."""
    if not CLUSTER.is_file():
        pytest.skip(f"{CLUSTER} is not there; BOXCAR_SHARED names the folder that holds cluster/cluster")
    _run(CLUSTER, "base")
    built = {name: image_name(name, tag) for name in names}
    for name, image in built.items():
        arguments = ("--build-arg", f"VERSION={__version__}", "--build-arg", f"REVISION={revision()}")
        _run(CLUSTER, "image", image, ".", "--layers", "--file", "images/Dockerfile", "--target", name, *arguments)
    return built


def revision() -> str:
    """The commit that is built."""
    return _run("git", "rev-parse", "HEAD").strip()


def _run(*command: str | Path) -> str:
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{' '.join(map(str, command))}:\n{run.stdout[-2000:]}{run.stderr[-4000:]}"
    return run.stdout
