"""What the operator of a cluster has set up for the steps of a pipeline. On a laptop there is none of it.

The pods of a pipeline find it as files: pipelines/task_settings.py mounts the Secret with the bucket's credentials and two
ConfigMaps that the chart makes.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from boxcar.process import run_component

SECRET = Path("/var/run/secrets/boxcar.dev/bucket")  # one file per key, as in the next
ENVIRONMENT = Path("/etc/boxcar/environment")
SETTINGS = Path("/etc/boxcar/settings")
CLUSTER = "cluster.yaml"  # in SETTINGS: the part `cluster:` of the configuration
GCS_KEY = "key.json"  # in SECRET
LAUNCHER = "BOXCAR_LAUNCHER"  # with `local` the train step trains in its own process and starts no Job

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_R = TypeVar("_R")


def run_task(step: str, work: Callable[[], _R], run: str | None = None) -> _R:
    """`process.run_component` with the operator's variables and credentials. Variables that are already set stay."""
    for path in (*_variables(SECRET), *_variables(ENVIRONMENT)):
        os.environ.setdefault(path.name, path.read_text(encoding="utf-8").strip())
    if (SECRET / GCS_KEY).is_file():
        os.environ.setdefault("GOOGLE_APPLICATION_CREDENTIALS", str(SECRET / GCS_KEY))
    return run_component(step, work, run)


def is_local() -> bool:
    """Whether `pipelines.local` started the pipeline, on this machine alone."""
    return os.environ.get(LAUNCHER) == "local"


def installed_settings() -> dict[str, Any]:
    """The settings of the cluster as the operator set them; empty if there are none."""
    from boxcar.config.yaml_text import load_yaml

    path = SETTINGS / CLUSTER
    if not path.is_file():
        return {}
    loaded: dict[str, Any] = load_yaml(path.read_text(encoding="utf-8"))["cluster"]
    return loaded


def bucket_credentials(secret: str) -> dict[str, str | None]:
    """The settings that give a Job this pod's access to the bucket: this Secret. Empty if it is not mounted."""
    keys, has_key = any(_variables(SECRET)), (SECRET / GCS_KEY).is_file()
    if not (keys or has_key):
        return {}
    return {"credentials_secret": secret if keys else None, "gcs_key_secret": secret if has_key else None}


def _variables(folder: Path) -> Iterator[Path]:
    """The files of a mounted folder whose names can be those of variables."""
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if _VARIABLE.fullmatch(path.name) and path.is_file())
