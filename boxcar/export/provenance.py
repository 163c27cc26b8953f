"""Where a detector comes from: `freeze` writes it once, and every file made from the detector contains it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

import boxcar
from boxcar.detectors.checkpoint_sources import find_checkpoint
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.embedded import ASSETS, PROVENANCE
from boxcar.inference.specification import InitialCheckpoint, Specification
from boxcar.run.layout import IMAGE, PIPELINE_VERSION
from boxcar.storage.cache import uri_of

CODE_REVISION = "BOXCAR_CODE_REVISION"  # set in container images, which have no repository

_TRAINED = re.compile(r"ckpt-(\d+)")
_GIT_SECONDS = 10.0


class Provenance(BaseModel):
    """What a file was made from, and by which code."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str | None  # URI of the run's folder; None for a checkpoint outside of a run
    architecture: str
    checkpoint_step: int | None  # None if the checkpoint's name has none
    checkpoint_sha256: str  # of the checkpoint's files, as `checkpoint_sources.InitialWeights` says
    initial_checkpoint: InitialCheckpoint | None  # what training started from; None for random or unknown weights
    dataset_version: str | None
    code_version: str
    code_revision: str | None  # commit of the code's repository, with "-dirty" appended if files were changed
    image: str | None
    pipeline_version: str | None

    def text(self) -> str:
        """The text of `provenance.json`."""
        return self.model_dump_json(indent=2) + "\n"


def trace(prefix: Path, run: str | None, specification: Specification) -> Provenance:
    """The provenance of a model that is now frozen from a checkpoint.

    Args:
        prefix: the checkpoint's path without `.index`.
        run: URI of its run; None if it is in no run.
        specification: of the detector.

    Raises:
        BoxcarError: 64 if there is no such checkpoint.
    """
    step = _TRAINED.fullmatch(prefix.name)
    return Provenance(
        run=run,
        architecture=specification.architecture,
        checkpoint_step=int(step[1]) if step else None,
        checkpoint_sha256=find_checkpoint(str(prefix)).sha256,
        initial_checkpoint=specification.initial_checkpoint,
        dataset_version=specification.dataset_version,
        code_version=boxcar.__version__,
        code_revision=code_revision(),
        image=os.environ.get(IMAGE) or None,
        pipeline_version=os.environ.get(PIPELINE_VERSION) or None,
    )


def code_revision() -> str | None:
    """The commit of this code, from the environment or from its own repository; None if neither knows it."""
    revision = os.environ.get(CODE_REVISION)
    root = Path(boxcar.__file__).parents[1]
    git = shutil.which("git")
    # An installed package may be inside another repository. Only ours has `.git` next to the package.
    if revision or git is None or not (root / ".git").exists():
        return revision or None
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, timeout=_GIT_SECONDS, check=True, text=True)
    except (OSError, subprocess.SubprocessError):
        return None  # for example, git refuses to read the repository of another user
    return answer.stdout.strip() or None


def read_provenance(frozen: Path) -> Provenance:
    """Reads the provenance of the SavedModel in a folder that `freeze` wrote.

    Raises:
        BoxcarError: 65 if there is none, or it is not valid.
    """
    path = frozen / "saved_model" / ASSETS / PROVENANCE
    try:
        return Provenance.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.errors()[0]["msg"]
        raise BoxcarError(
            ExitCode.DATA,
            f"{uri_of(frozen)} has no provenance: {uri_of(path)} cannot be read ({reason}).",
            "Run `boxcar freeze` again for that folder.",
        ) from error
