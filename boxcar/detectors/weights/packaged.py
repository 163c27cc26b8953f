"""Files of packaged weights: one `.npz` per network, with all its variables by their names in checkpoints and their origin."""

import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxcar.errors import BoxcarError, ExitCode

Floats = npt.NDArray[np.float32]

FOLDER = Path(__file__).with_name("packaged")
# The locked packages: version, hash, license, and where in the package each architecture's network is.
PACKAGES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("packages.json").read_text(encoding="utf-8"))
PACKAGED = ".npz"  # how the name of a file of packaged weights ends
_ORIGIN = "origin"


def packaged_source(architecture: str) -> str:
    """The URL of the package that has weights for an architecture.

    Raises:
        BoxcarError: 64 if there is none.
    """
    for name, package in PACKAGES.items():
        if architecture in package["networks"]:
            return package_url(name)
    raise BoxcarError(
        ExitCode.USAGE, f"There are no packaged weights for {architecture}.", "Use --init none or another architecture."
    )


def package_url(name: str) -> str:
    """A locked package in the notation of https://github.com/package-url/purl-spec."""
    return f"pkg:npm/{name}@{PACKAGES[name]['version']}"


def packaged_file(architecture: str) -> Path:
    """Where set-up puts an architecture's weights."""
    return FOLDER / f"{architecture}{PACKAGED}"


def write_packaged(path: Path, variables: Mapping[str, Floats], origin: Mapping[str, Any]) -> None:
    """Writes a file of weights. A file that exists is whole.

    Args:
        path: to write; its folder exists.
        variables: by their names in checkpoints.
        origin: `source`, a package URL; `files`, `integrity`, and `license` of the package; `batch_norms`: `folded` if their
            statistics are unknown.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, allow_pickle=False, **{_ORIGIN: np.array(json.dumps(origin))}, **variables)
        temporary.chmod(0o644)  # other users may train with it, too
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_packaged(path: Path) -> tuple[dict[str, Floats], dict[str, Any]]:
    """The variables and the origin that `write_packaged` wrote.

    Raises:
        BoxcarError: 65 if the file is damaged or something else.
    """
    try:
        # Compressed, a small file could fill the memory.
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("it is compressed")
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
        origin = json.loads(str(content.pop(_ORIGIN)))
        if origin["batch_norms"] != "folded" or any(value.dtype != np.float32 for value in content.values()):
            raise ValueError("it is something else")
    # What zipfile and NumPy raise for files that are cut short or changed.
    except (ValueError, KeyError, EOFError, TypeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise BoxcarError(
            ExitCode.DATA, f"The packaged weights {path} are damaged.", "Run `make setup` again, or use other weights."
        ) from error
    return content, origin
