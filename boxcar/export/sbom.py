"""The software bill of materials (SBOM, CycloneDX 1.6) of the exported files, for scanners."""

import platform
import re
from importlib import metadata
from typing import Any
from urllib.parse import quote

from boxcar import __version__
from boxcar.export.provenance import Provenance


def make_sbom(provenance: Provenance) -> dict[str, Any]:
    """Python, every package of this environment, and the container image if it is one.

    It has no time and no serial number, so that the same environment gives the same bytes.
    """
    packages = {}
    for package in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", package.name or "").lower()  # as PyPI compares names
        if name and name not in packages:  # the first is the one that is imported
            packages[name] = _package(name, package)
    parts = [packages[name] for name in sorted(packages)]
    parts.append({"type": "platform", "name": platform.python_implementation(), "version": platform.python_version()})
    if provenance.image is not None:
        parts.append({"type": "container", "name": provenance.image})
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "boxcar", "version": __version__}]},
            "component": {"type": "machine-learning-model", "name": provenance.architecture},
        },
        "components": parts,
    }


def _package(name: str, package: metadata.Distribution) -> dict[str, Any]:
    address = f"pkg:pypi/{name}@{quote(package.version, safe='')}"
    (licence,) = package.metadata.get_all("License-Expression") or [None]
    described = {"type": "library", "bom-ref": address, "name": name, "version": package.version, "purl": address}
    return described | ({"licenses": [{"expression": licence}]} if licence else {})
