"""The model registry: versions of models, the champion, and the gate. May import `config` and the layers below it; no other
step.

`gate` and `retest` are not imported here, because they need packages that the ops image does not have.
"""

from boxcar.config.gate_settings import GateSettings
from boxcar.registry.aliases import read_aliases, resolve
from boxcar.registry.held_out import held_out_list, read_held_out, shortage
from boxcar.registry.model import Model
from boxcar.registry.versions import (
    add_version,
    fetch_version,
    list_versions,
    promote_regardless,
    read_version,
    rollback,
)

__all__ = [
    "GateSettings",
    "Model",
    "add_version",
    "fetch_version",
    "held_out_list",
    "list_versions",
    "promote_regardless",
    "read_aliases",
    "read_held_out",
    "read_version",
    "resolve",
    "rollback",
    "shortage",
]
