"""The models of a team: a folder with their versions, which of them is the champion, and the gate that decides it."""

from boxcar.registry.aliases import Aliases, read_aliases, resolve, rollback
from boxcar.registry.frozen import frozen_test_list
from boxcar.registry.gate import DECISION, Compared, compare, gate, promote_regardless
from boxcar.registry.model import Model
from boxcar.registry.references import References, references
from boxcar.registry.retest import Retested, retest
from boxcar.registry.versions import Version, add_version, fetch_version, list_versions, read_version
from boxcar.run.gate_settings import GateSettings

__all__ = [
    "DECISION",
    "Aliases",
    "Compared",
    "GateSettings",
    "Model",
    "References",
    "Retested",
    "Version",
    "add_version",
    "compare",
    "fetch_version",
    "frozen_test_list",
    "gate",
    "list_versions",
    "promote_regardless",
    "read_aliases",
    "read_version",
    "references",
    "resolve",
    "retest",
    "rollback",
]
