"""The models of a team: a folder with their versions, which of them is the champion, and the gate that decides it.

`gate` and `retest` run files and score what they find, and are imported by their own names: where retrainings are only watched,
nothing that does so is installed.
"""

from boxcar.config.gate import GateSettings
from boxcar.registry.aliases import Aliases, read_aliases, resolve, rollback
from boxcar.registry.held_out import held_out_list
from boxcar.registry.model import Model
from boxcar.registry.references import References, references
from boxcar.registry.versions import (
    Version,
    add_version,
    fetch_version,
    list_versions,
    promote_regardless,
    read_version,
)

__all__ = [
    "Aliases",
    "GateSettings",
    "Model",
    "References",
    "Version",
    "add_version",
    "fetch_version",
    "held_out_list",
    "list_versions",
    "promote_regardless",
    "read_aliases",
    "read_version",
    "references",
    "resolve",
    "rollback",
]
