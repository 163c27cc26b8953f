"""The bill of materials beside exported files."""

import json
import platform
from importlib import metadata

import pytest
from exported import ExportedRun

from boxcar import __version__
from boxcar.export.provenance import read_provenance
from boxcar.export.sbom import make_sbom
from boxcar.run.layout import SBOM
from boxcar.run.step import require_commit


def test_it_lies_beside_the_files_and_names_what_made_them(exported_run: ExportedRun) -> None:
    bill = json.loads((exported_run.export / SBOM).read_text())
    assert SBOM in require_commit(exported_run.export, "convert").files
    parts = {(part["type"], part["name"]): part for part in bill["components"]}
    for name in ("numpy", "pydantic", "tensorflowjs"):
        part = parts["library", name]
        assert part["version"] == metadata.version(name)
        assert part["purl"] == part["bom-ref"] == f"pkg:pypi/{name}@{metadata.version(name)}"
    assert len(parts) == len(bill["components"]) > 50
    assert parts["platform", "CPython"]["version"] == platform.python_version()
    assert bill["metadata"]["tools"]["components"][0]["version"] == __version__
    assert parts["library", "pydantic"]["licenses"] == [{"expression": "MIT"}]


def test_it_is_what_cyclonedx_says(exported_run: ExportedRun) -> None:
    pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib, which has the schema, is not installed")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    provenance = read_provenance(exported_run.frozen).model_copy(update={"image": "docker.io/boxcar/convert:0.1.0"})
    bill = make_sbom(provenance)
    assert {"type": "container", "name": "docker.io/boxcar/convert:0.1.0"} in bill["components"]
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(json.dumps(bill)) is None
    assert validator.validate_str(json.dumps(bill | {"components": [{"type": "cake", "name": "x"}]})) is not None
