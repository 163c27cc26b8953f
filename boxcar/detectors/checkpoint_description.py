"""Where the `detector.json` of a checkpoint is, if Boxcar wrote the checkpoint."""

from pathlib import Path

from boxcar.inference.specification import SPECIFICATION
from boxcar.sync.mirror import Mirror

_FROZEN = "checkpoint"  # the folder of the checkpoint in what `boxcar freeze` writes


def find_description(prefix: Path) -> Path | None:
    """The `detector.json` next to a checkpoint, as in `train/`, or above its folder, as in `saved_model/checkpoint/`.

    Args:
        prefix: the checkpoint's path without `.index`.

    Returns:
        Its path; None if there is none, as for a checkpoint that others published.
    """
    folder = prefix.absolute().parent
    folders = (folder, folder.parent) if folder.name == _FROZEN else (folder,)
    return next((path for path in (one / SPECIFICATION for one in folders) if path.is_file()), None)


def fetch_description(folder: str) -> None:
    """Brings what `find_description` looks for to this machine.

    Args:
        folder: URI of the checkpoint's folder in a bucket.

    Raises:
        BoxcarError: 69 if the bucket fails.
    """
    parent, _, name = folder.rpartition("/")
    for place in (folder, parent) if name == _FROZEN else (folder,):
        Mirror(place).take_files([SPECIFICATION])
