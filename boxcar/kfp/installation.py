"""What the operator of a cluster has set up for the steps of a pipeline. On a laptop there is nothing of it.

The pods of a pipeline find it as files: pipelines/tasks.py mounts the Secret that opens the bucket, and the two ConfigMaps that
the chart makes.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from boxcar.process import run_component

SECRET = Path("/var/run/secrets/boxcar.dev/bucket")  # one file a key, as is the next
ENVIRONMENT = Path("/etc/boxcar/environment")
SETTINGS = Path("/etc/boxcar/settings")
CLUSTER = "cluster.yaml"  # in SETTINGS: the part `cluster:` of the configuration
GCS_KEY = "key.json"  # in SECRET
LAUNCHER = "BOXCAR_LAUNCHER"  # `local` has the train step train where it is, and not start a Job

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_R = TypeVar("_R")


def run_task(step: str, work: Callable[[], _R], run: str | None = None) -> _R:
    """`process.run_component` with the operator's variables and credentials. Those that are set already stay.

    Args:
        step: the step's name.
        work: what to do.
        run: URI of the run whose failure it would be; None where it would be nobody's.
    """
    for path in (*_variables(SECRET), *_variables(ENVIRONMENT)):
        os.environ.setdefault(path.name, path.read_text(encoding="utf-8").strip())
    if (SECRET / GCS_KEY).is_file():
        os.environ.setdefault("GOOGLE_APPLICATION_CREDENTIALS", str(SECRET / GCS_KEY))
    return run_component(step, work, run)


def is_local() -> bool:
    """Whether there is this machine only: the pipeline was started by `pipelines.local`."""
    return os.environ.get(LAUNCHER) == "local"


def installed_settings() -> dict[str, Any]:
    """The settings of the cluster as the operator has them; empty where none are kept."""
    import yaml

    path = SETTINGS / CLUSTER
    if not path.is_file():
        return {}
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["cluster"]
    return loaded


def bucket_credentials(secret: str) -> dict[str, str | None]:
    """The settings by which a Job gets at the bucket as this pod does: by this Secret. Empty where it is not there."""
    keys, has_key = any(_variables(SECRET)), (SECRET / GCS_KEY).is_file()
    if not (keys or has_key):
        return {}
    return {"credentials_secret": secret if keys else None, "gcs_key_secret": secret if has_key else None}


def _variables(folder: Path) -> Iterator[Path]:
    """The files of a mounted folder that are named as variables are."""
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if _VARIABLE.fullmatch(path.name) and path.is_file())
