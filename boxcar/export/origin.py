"""The origin of an exported file, for `boxcar show`."""

from pathlib import Path

from pydantic import ValidationError

from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.provenance import Provenance
from boxcar.inference.embedded import ASSETS, LABELS, PROVENANCE, read_embedded
from boxcar.storage import Missing, bucket_location, fetch_file, local_path
from boxcar.sync.mirror import Mirror

_FROZEN = "saved_model"  # in what `boxcar freeze` wrote
_PARTS = (".json", ".bin", ".pb")  # suffixes of the files of a model that is a folder
_ASSETS = [f"{ASSETS}/{name}" for name in (LABELS, PROVENANCE)]
_READ = frozenset({"model.json", *_ASSETS, *(f"{_FROZEN}/{name}" for name in _ASSETS)})


def describe_origin(uri: str) -> list[str]:
    """The origin of an exported file, as lines of a table.

    Args:
        uri: a `.tflite` file, a TensorFlow.js or SavedModel folder or any file in one, or what `boxcar freeze` wrote.

    Raises:
        BoxcarError: 64 if it does not exist, 65 if it contains no provenance, 69 if its bucket cannot be read.
    """
    path = _fetch(uri)
    found = read_embedded(path)
    try:
        origin = Provenance.model_validate(found.provenance)
    except ValidationError as error:
        raise BoxcarError(
            ExitCode.DATA,
            f"{uri} has no provenance inside: it is cut short, or was not exported by this version of Boxcar.",
            "Give a .tflite file, a folder with a model.json or a SavedModel, or export it again.",
        ) from error
    initial = origin.initial_checkpoint
    step = "" if origin.checkpoint_step is None else f"step {origin.checkpoint_step}, "
    rows = {
        "run": origin.run,
        "pipeline version": origin.pipeline_version,
        "container image": origin.image,
        "code version": origin.code_version,
        "code revision": origin.code_revision,
        "data version": origin.dataset_version,
        "initial checkpoint": None if initial is None else f"{initial.source} (sha256 {initial.sha256})",
        "architecture": origin.architecture,
        "checkpoint": f"{step}sha256 {origin.checkpoint_sha256}",
        "labels": ", ".join((found.labels or "").splitlines()) or None,
    }
    width = max(map(len, rows))
    return [f"{name:<{width}}  {value or 'none or unknown'}" for name, value in rows.items()]


def _fetch(uri: str) -> Path:
    """The `.tflite` file or the folder on this machine. From a bucket, only the files that are read are fetched."""
    location = bucket_location(uri)
    if location is None:
        path = local_path(uri)
        if not path.exists():
            raise Missing(uri)
        folder = path if path.is_dir() else path.parent
    elif uri.endswith(".tflite"):
        path = fetch_file(uri)
    else:
        parent, name = location.split()
        path = folder = Mirror(parent if name.endswith(_PARTS) else uri).fetch_some(_READ.__contains__)
        if not any((folder / one).is_file() for one in _READ):
            raise Missing(uri)
    if path.suffix == ".tflite":
        return path
    return folder / _FROZEN if (folder / _FROZEN / ASSETS).is_dir() else folder
