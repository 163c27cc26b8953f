"""Renders the part of the kustomize tree that comes from the chart, so that the two cannot drift apart.

    python k8s/render.py

needs `helm`. The kustomization.yaml files, the Namespace, and the patches of the overlays are written by hand.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

TREE = Path(__file__).parent
CHART = TREE.parent / "charts" / "boxcar"
LAPTOP = CHART / "ci" / "minio-on-laptop-values.yaml"
NOTE = "# Rendered from charts/boxcar by k8s/render.py: change the chart, not this file.\n"
# These labels say that Helm installed the object.
HELM_LABELS = ("app.kubernetes.io/managed-by", "helm.sh/chart")


def render() -> dict[str, str]:
    """The rendered files, by their paths in the tree.

    Raises:
        subprocess.CalledProcessError: `helm template` failed.
    """
    base = {f"base/{name}": _text(objects) for name, objects in _templates().items()}
    return base | {"components/laptop/minio.yaml": _text(_templates("--values", str(LAPTOP))["minio.yaml"])}


def _templates(*options: str) -> dict[str, list[dict[str, Any]]]:
    """The objects of a release by the template that they came from; without the pods of `helm test`."""
    command = ["helm", "template", "boxcar", str(CHART), "--namespace", "boxcar", "--skip-tests", *options]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, list[dict[str, Any]]] = {}
    for document in re.split(r"^---$", rendered, flags=re.MULTILINE):
        source = re.search(r"^# Source: boxcar/templates/(.+)$", document, flags=re.MULTILINE)
        content = yaml.safe_load(document)
        if source and content:
            found.setdefault(source[1], []).append(_bare(content))
    # Helm's own order depends on its version.
    return {
        source: sorted(objects, key=lambda one: (one["kind"], one["metadata"]["name"])) for source, objects in found.items()
    }


def _bare(value: Any) -> Any:
    """An object without what is Helm's, and without its namespace, which the kustomization sets."""
    if isinstance(value, list):
        return [_bare(one) for one in value]
    if not isinstance(value, dict):
        return value
    bare = {key: _bare(one) for key, one in value.items() if key not in HELM_LABELS}
    bare.pop("namespace", None)
    return bare


class _Readable(yaml.SafeDumper):
    """Files within a ConfigMap as the lines that they are."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _Readable.represent_text)


def _text(objects: list[dict[str, Any]]) -> str:
    return NOTE + yaml.dump_all(objects, Dumper=_Readable, sort_keys=False, width=120)


if __name__ == "__main__":
    for name, text in render().items():
        (TREE / name).write_text(text, encoding="utf-8")
