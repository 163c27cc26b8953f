"""The kustomize tree: the chart's own manifests, and overlays that Kubernetes takes."""

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_tools import CHART, KUBERNETES, OVERLAYS, ROOT, Object, assert_valid, find, kustomize, pods, program, template

from boxcar.config.cluster_settings import ClusterSettings

pytestmark = pytest.mark.cluster

overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)


@pytest.fixture
def render(monkeypatch: pytest.MonkeyPatch) -> Any:
    """k8s/render.py, with the tests' `helm` on its PATH."""
    monkeypatch.setenv("PATH", f"{Path(program('helm')).parent}{os.pathsep}{os.environ['PATH']}")
    specification = importlib.util.spec_from_file_location("render", ROOT / "k8s" / "render.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_base_is_what_the_chart_renders(render: Any) -> None:
    rendered = render.render()
    for name, text in rendered.items():
        assert (ROOT / "k8s" / name).read_text(encoding="utf-8") == text, f"k8s/{name}: run `make manifests`"
    marked = {
        str(path.relative_to(ROOT / "k8s"))
        for path in (ROOT / "k8s").rglob("*.yaml")
        if path.read_text(encoding="utf-8").startswith(render.NOTE)
    }
    assert marked == set(rendered)


def test_base_lists_all_that_is_rendered_into_it(render: Any) -> None:
    listed = yaml.safe_load((ROOT / "k8s" / "base" / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert {f"base/{name}" for name in listed} - {"base/namespace.yaml"} == {
        name for name in render.render() if name.startswith("base/")
    }


@overlays
def test_kubernetes_knows_every_field_in_all_its_versions(overlay: Path) -> None:
    objects = kustomize(overlay)
    assert len(objects) > 10
    for version in KUBERNETES:
        assert_valid(objects, version)


@overlays
def test_all_lies_in_a_namespace_that_is_restricted(overlay: Path) -> None:
    for one in kustomize(overlay):
        if one["kind"] == "Namespace":
            assert one["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        else:
            assert one["metadata"]["namespace"] == "boxcar", one["metadata"]["name"]


def test_an_overlay_of_ones_own_may_name_another_namespace(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    own = tmp_path / "k8s" / "overlays" / "own"
    own.mkdir()
    (own / "kustomization.yaml").write_text("namespace: vision\nresources: [../gke]\n", encoding="utf-8")
    objects = kustomize(own)
    assert {one["metadata"].get("namespace", one["metadata"]["name"]) for one in objects} == {"vision"}
    assert find(objects, "RoleBinding", "boxcar-launcher")["subjects"][0]["namespace"] == "vision"


def test_laptops_keep_the_bucket_in_the_cluster() -> None:
    for name in ("kind", "minikube"):
        objects = kustomize(ROOT / "k8s" / "overlays" / name)
        assert find(objects, "ConfigMap", "boxcar-environment")["data"]["BOXCAR_S3_ENDPOINT"] == "http://boxcar-minio:9000"
        assert find(objects, "Service", "boxcar-minio")["spec"]["ports"][0]["port"] == 9000
        assert not [one for one in objects if one["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize(
    ("overlay", "values", "beyond"),
    [
        ("gke", "gke", {}),
        ("onprem", "onprem", {}),
        ("minikube", "minio-on-laptop", {}),
        ("kind", "minio-on-laptop", {f"{pool}_node_selector": {"boxcar.dev/pool": pool} for pool in ("cpu", "gpu")}),
    ],
)
def test_an_overlay_sets_what_the_chart_does_with_the_values_of_that_place(
    overlay: str, values: str, beyond: dict[str, Any]
) -> None:
    def read(objects: list[Object]) -> tuple[ClusterSettings, dict[str, str]]:
        text = find(objects, "ConfigMap", "boxcar-settings")["data"]["cluster.yaml"]
        return ClusterSettings(**yaml.safe_load(text)["cluster"]), find(objects, "ConfigMap", "boxcar-environment")["data"]

    settings, environment = read(template("--values", str(CHART / "ci" / f"{values}-values.yaml")))
    assert read(kustomize(ROOT / "k8s" / "overlays" / overlay)) == (settings.model_copy(update=beyond), environment)


def test_on_gke_no_secret_is_asked_for() -> None:
    objects = kustomize(ROOT / "k8s" / "overlays" / "gke")
    sources = [source for _, pod in pods(objects) for container in pod["containers"] for source in container.get("envFrom", [])]
    assert sources == [{"configMapRef": {"name": "boxcar-environment"}}]
    assert find(objects, "ConfigMap", "boxcar-environment")["data"] == {"BOXCAR_RUNS": "gs://example-boxcar/runs"}
    accounts = {
        one["metadata"]["name"]: one["metadata"].get("annotations") for one in objects if one["kind"] == "ServiceAccount"
    }
    assert all("iam.gke.io/gcp-service-account" in (annotations or {}) for annotations in accounts.values())
    assert len(accounts) == 3


def test_in_the_house_images_come_from_its_own_registry() -> None:
    objects = kustomize(ROOT / "k8s" / "overlays" / "onprem")
    images = {container["image"] for _, pod in pods(objects) for container in pod["containers"]}
    assert {image.rpartition("/")[0] for image in images} == {"registry.example.com:5000/boxcar"}
    settings = yaml.safe_load(find(objects, "ConfigMap", "boxcar-settings")["data"]["cluster.yaml"])["cluster"]
    assert settings["image_repository"] == "registry.example.com:5000/boxcar"
    policy = find(objects, "NetworkPolicy", "boxcar-to-bucket")["spec"]["egress"]
    assert [(rule["to"][0]["ipBlock"]["cidr"], rule["ports"][0]["port"]) for rule in policy] == [("192.0.2.20/32", 9443)]
