"""The chart's documents, and its values beside Boxcar's own settings: what needs no Helm."""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import boxcar
from boxcar.config.cluster_settings import ClusterSettings
from boxcar.config.run_settings import make_configuration

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "boxcar"
VALUES = (CHART / "values.yaml").read_text(encoding="utf-8")
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
# What the templates set from the values `image` and `bucket`, or leave to the pod or the pipeline.
DERIVED = {
    *(
        "namespace",
        "service_account",
        "image_repository",
        "image_tag",
        "image_digests",
        "image_pull_policy",
        "image_pull_secrets",
    ),
    *("environment", "credentials_secret", "gcs_key_secret"),
}


def _load(path: Path) -> Any:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


document = _load(CHART / "document.py")


def _objects(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of an object, with the path of the value it is for."""
    if schema.get("type") == "object":
        yield path, schema
    for name, nested in schema.get("properties", {}).items():
        yield from _objects(nested, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from _objects(schema["items"], f"{path}[]")


def _leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(values, dict) and values:
        for name, nested in values.items():
            yield from _leaves(nested, (*path, name))
    else:
        yield path


def test_readme_and_schema_say_what_the_values_say() -> None:
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    assert document.document_readme(readme, VALUES) == readme, "run `make chart-readme`"
    schema = (CHART / "values.schema.json").read_text(encoding="utf-8")
    assert document.document_schema(schema, VALUES) == schema, "run `make chart-readme`"


def test_every_value_is_explained_by_itself_or_by_what_holds_it() -> None:
    comments = document.read_comments(VALUES)
    for path in _leaves(yaml.safe_load(VALUES)):
        assert any(path[:length] in comments for length in range(2, len(path) + 1)), path


def test_a_comment_goes_to_the_key_below_it_and_over_its_lines() -> None:
    values = "# no\na:\n  # -- One\n  # and two.\n  b: 1\n\n  # free\n  c:\n    # -- Three.\n    d: {e: 1}\n# -- Four.\nf: []\n"
    assert document.read_comments(values) == {("a", "b"): "One and two.", ("a", "c", "d"): "Three.", ("f",): "Four."}
    assert document.table(values).splitlines()[2:] == [
        "| `a.b` | `1` | One and two. |",
        '| `a.c.d` | `{"e": 1}` | Three. |',
        "| `f` | `[]` | Four. |",
    ]


def test_the_schema_knows_exactly_the_values_and_describes_each() -> None:
    def compare(schema: dict[str, Any], values: Any, path: str) -> None:
        for name, nested in schema.get("properties", {}).items():
            assert nested.get("description"), f"{path}{name} has no description"
        if "properties" in schema:
            assert set(schema["properties"]) == set(values), path
            for name, nested in schema["properties"].items():
                compare(nested, values[name], f"{path}{name}.")

    compare(SCHEMA, yaml.safe_load(VALUES), "")


def test_the_schema_refuses_what_it_does_not_know() -> None:
    definitions = SCHEMA["definitions"]
    nested = [found for name in definitions for found in _objects(definitions[name], name)]
    # What is Kubernetes' own, and the settings of a run, are checked by those whose they are.
    open_ones = {path for path, schema in [*_objects(SCHEMA), *nested] if schema.get("additionalProperties", True) is True}
    assert open_ones == {"kubernetes", ".schedule.settings"}


def test_cluster_settings_are_boxcars_own_with_the_same_defaults() -> None:
    cluster = yaml.safe_load(VALUES)["cluster"]
    assert set(cluster) == set(ClusterSettings.model_fields) - DERIVED
    assert ClusterSettings(**cluster) == ClusterSettings()
    described = SCHEMA["properties"]["cluster"]["properties"]
    for name in ("machines", "grace_seconds", "shm_megabytes", "ephemeral_gigabytes"):
        field = ClusterSettings.model_json_schema()["properties"][name]
        assert (described[name]["minimum"], described[name]["maximum"]) == (field["minimum"], field["maximum"]), name


def test_chart_and_images_have_boxcars_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == boxcar.__version__
    assert chart["version"] == boxcar.__version__


def test_base_is_the_chart_of_this_version() -> None:
    """The whole comparison needs Helm; a version that was raised in one place only is seen without."""
    text = (ROOT / "k8s" / "base" / "tensorboard.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"image: docker.io/boxcar/\w+:(\S+)", text)) == {boxcar.__version__}


@pytest.mark.parametrize("overlay", sorted(path.name for path in (ROOT / "k8s" / "overlays").iterdir()))
def test_overlays_hold_settings_that_boxcar_takes(overlay: str, tmp_path: Path) -> None:
    text = (ROOT / "k8s" / "overlays" / overlay / "settings.yaml").read_text(encoding="utf-8")
    settings = next(one for one in yaml.safe_load_all(text) if one["metadata"]["name"] == "boxcar-settings")
    file = tmp_path / "cluster.yaml"
    file.write_text(settings["data"]["cluster.yaml"], encoding="utf-8")
    assert make_configuration(file, {}).cluster != ClusterSettings()
