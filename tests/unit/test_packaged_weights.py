"""The packaged weights: the network answers with them as the package's own model does, and a wrong package is refused."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from external import RACCOON
from made_once import made_once
from PIL import Image

from boxcar.detectors.catalog import ARCHITECTURES, build_network
from boxcar.detectors.weights import prepare
from boxcar.detectors.weights.mobilenet_from_tflite import unpack_model
from boxcar.detectors.weights.packaged import FOLDER, PACKAGES, read_packaged, write_packaged
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.anchors import make_anchors
from boxcar.inference.decoding import decode_boxes
from boxcar.inference.preprocessing import preprocess
from boxcar.inference.tfjs import TFJSRunner

NETWORKS = {name: package["networks"] for name, package in PACKAGES.items()}
BACKBONE = "mobilenet_v2_open_images"
HANDS = {number: f"hand {number}" for number in range(1, 8)}
SMALL, LARGE = (f"ssd_mobilenet_v2_fpnlite_{size}x{size}" for size in (320, 640))
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def handtrackjs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it is published; set-up leaves nothing of it."""
    return made_once(tmp_path_factory, "handtrackjs", lambda folder: prepare.fetch_package("handtrackjs", folder))


def model_alone(model: dict[str, Any]) -> dict[str, Any]:
    """A detector's graph from its normalized pixels to all decoded boxes and their scores, without resizing and suppression."""
    nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
    (stem,) = (node for node in nodes.values() if any("/Conv1/Conv2D_weights" in name for name in node.get("input", ())))
    image = {"name": stem["input"][0], "op": "Placeholder", "attr": {"dtype": {"type": "DT_FLOAT"}}}
    outputs = {
        "box_encodings": "StatefulPartitionedCall/Postprocessor/Squeeze",
        "class_logits": "StatefulPartitionedCall/Postprocessor/convert_scores",
    }
    nodes[image["name"]] = image
    needed, left = set[str](), list(outputs.values())
    while left:
        name = left.pop().partition(":")[0]
        if name not in needed and not name.startswith("^"):
            needed.add(name)
            left += nodes[name].get("input", [])
    for name in needed:
        nodes[name]["input"] = [one for one in nodes[name].get("input", []) if not one.startswith("^")]
    named = {name: {"name": f"{node}:0", "dtype": "DT_FLOAT"} for name, node in outputs.items()}
    signature = {"inputs": {"image": {"name": f"{image['name']}:0", "dtype": "DT_FLOAT"}}, "outputs": named}
    topology = model["modelTopology"] | {"node": [nodes[name] for name in nodes if name in needed]}
    return model | {"modelTopology": topology, "signature": signature}


@RACCOON.needed
@pytest.mark.parametrize("architecture", [SMALL, pytest.param(LARGE, marks=pytest.mark.slow)])
def test_it_finds_what_the_packages_own_model_finds(architecture: str, handtrackjs: Path, tmp_path: Path) -> None:
    """Neither the graph, nor its anchors, nor its decoding come from Boxcar."""
    row = ARCHITECTURES[architecture]
    specification = row.specify(row.image_size, HANDS)
    with Image.open(min((RACCOON.path / "images").iterdir())) as photograph:
        pixels = preprocess(np.asarray(photograph.convert("RGB")), specification)

    files = handtrackjs / NETWORKS["handtrackjs"][architecture]
    for file in files.glob("*.bin"):
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "model.json").write_text(json.dumps(model_alone(json.loads((files / "model.json").read_text()))))
    with TFJSRunner(tmp_path, specification) as runner:
        boxes, scores = runner.heads(pixels).values()

    network = build_network(specification)
    load(network.variables_by_name(), architecture)
    ours = {name: value.numpy()[0] for name, value in network.model(pixels[None], training=False).items()}
    anchors = make_anchors(row.image_size, specification.anchors)
    assert len(anchors) == {SMALL: 12804, LARGE: 51150}[architecture]
    found = decode_boxes(ours["box_encodings"], anchors, specification.box_coder)
    np.testing.assert_allclose(found, boxes, rtol=0, atol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-ours["class_logits"])), scores, rtol=0, atol=1e-5)
    assert scores.max() > 0.1  # the photograph shows no hand, but the comparison is not of zeros


def load(variables: dict[str, Any], architecture: str) -> None:
    values, _ = read_packaged(FOLDER / f"{architecture}.npz")
    assert {name: value.shape for name, value in values.items()} == {name: tuple(v.shape) for name, v in variables.items()}
    for name, value in values.items():
        variables[name].assign(value)


@pytest.mark.parametrize("architecture", [SMALL, LARGE])
def test_a_file_holds_its_origin_and_nothing_that_is_not_finite(architecture: str) -> None:
    values, origin = read_packaged(FOLDER / f"{architecture}.npz")
    assert len(values) == 384
    assert all(value.dtype == np.float32 and np.isfinite(value).all() for value in values.values())
    assert origin["source"] == "pkg:npm/handtrackjs@0.1.5"
    assert (origin["license"], origin["integrity"]) == ("MIT", PACKAGES["handtrackjs"]["integrity"])


@pytest.mark.slow
def test_the_files_follow_from_the_package(handtrackjs: Path, tmp_path: Path) -> None:
    """And set-up leaves nothing else."""
    command = [sys.executable, "-m", "boxcar.detectors.weights.prepare", str(tmp_path / "weights")]
    subprocess.run(command, check=True, cwd=ROOT)
    made = {path.name: path.read_bytes() for path in (tmp_path / "weights").iterdir()}
    assert made == {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert set(made) == {f"{name}.npz" for networks in NETWORKS.values() for name in networks}


def test_what_npm_locks_is_what_is_checked(tmp_path: Path) -> None:
    archive = tmp_path / "package.tgz"
    archive.write_bytes(b"package")
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(b"package").digest()).decode()
    prepare.check_package(archive, "package@1", integrity)
    archive.write_bytes(b"Package")
    with pytest.raises(BoxcarError, match=r"package@1 is not the locked one") as caught:
        prepare.check_package(archive, "package@1", integrity)
    assert caught.value.code is ExitCode.DATA


def test_another_package_under_the_locked_name_is_65_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def serve(wanted: str, folder: Path) -> str:
        with tarfile.open(folder / "other.tgz", "w:gz") as tar:
            tar.add(__file__, "package/models/webmodel/ssd320fpnlite/base/model.json")
        return "other.tgz"

    monkeypatch.setattr(prepare, "_pack", serve)
    monkeypatch.setattr(sys, "argv", ["prepare", str(tmp_path / "weights")])
    assert prepare.main() == 65
    assert "not the locked one" in capsys.readouterr().err
    assert list((tmp_path / "weights").iterdir()) == []


def test_without_a_registry_it_is_69_and_writes_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"npm_config_registry": "http://127.0.0.1:9", "npm_config_cache": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "boxcar.detectors.weights.prepare", str(tmp_path / "weights")]
    options = {"npm_config_fetch_retries": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment | options, capture_output=True, text=True, check=False)
    assert done.returncode == 69, done.stderr
    assert "npm cannot download handtrackjs@0.1.5." in done.stderr
    assert list((tmp_path / "weights").iterdir()) == []


def test_a_full_disk_is_69_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "weights.npz"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_packaged(path, {"kernel": np.zeros(5000, np.float32)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "changed", "rubbish", "empty", "no origin", "no weights", "compressed", "pickle"])
def test_a_damaged_file_is_65(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    write_packaged(path, {"model/kernel": np.arange(1000, dtype=np.float32)}, {"batch_norms": "folded"})
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "changed":
        path.write_bytes(whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:])
    elif damage == "no origin":
        np.savez(path, kernel=np.zeros(3))
    elif damage == "no weights":
        np.savez(path, kernel=np.array("text"), origin=np.array('{"batch_norms": "folded"}'))
    elif damage == "compressed":
        np.savez_compressed(path, kernel=np.zeros(9, np.float32), origin=np.array('{"batch_norms": "folded"}'))
    elif damage == "pickle":
        np.savez(path, kernel=np.array([object()]), origin=np.array('{"batch_norms": "folded"}'))
    else:
        path.write_bytes(b"rubbish" * 100 if damage == "rubbish" else b"")
    with pytest.raises(BoxcarError, match=r"weights\.npz are damaged") as caught:
        read_packaged(path)
    assert caught.value.code is ExitCode.DATA


def test_levels_that_do_not_share_their_tower_are_refused() -> None:
    from boxcar.detectors.weights.fpnlite_from_tfjs import shared_kernel

    rng = np.random.default_rng(0)
    kernel, factors = rng.normal(size=(8, 6)), rng.normal(size=(5, 6))
    kernel[:, 2] = 0  # a dead channel
    folded = (factors[:, None] * kernel).astype(np.float32)[:, None, None]
    unit, found = shared_kernel(folded)
    np.testing.assert_allclose(found[:, None] * unit[0, 0], folded[:, 0, 0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(unit[0, 0], axis=0), [1, 1, 0, 1, 1, 1], atol=1e-6)
    folded[3, 0, 0, 0, 0] += 1
    with pytest.raises(ValueError, match="not multiples"):
        shared_kernel(folded)


def test_every_packaged_network_is_one_of_the_catalogs_or_a_backbone() -> None:
    assert set(NETWORKS["handtrackjs"]) <= set(ARCHITECTURES)
    assert set(NETWORKS["@mediapipe/objectron"]) == {BACKBONE}


def backbone_alone(content: bytes) -> bytes:
    """A TFLite file of a detector up to its last feature map with 1280 channels, whose input can have another size."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    graph = model.subgraphs[0]
    (last,) = (
        number
        for number, operator in enumerate(graph.operators)
        if graph.tensors[operator.outputs[0]].shape is not None
        and list(graph.tensors[operator.outputs[0]].shape[1:]) == [10, 10, 1280]
    )
    graph.operators = graph.operators[: last + 1]
    graph.outputs = graph.operators[last].outputs
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@RACCOON.needed
def test_the_backbone_has_the_features_that_the_packages_own_model_has(tmp_path: Path) -> None:
    files = NETWORKS["@mediapipe/objectron"][BACKBONE]
    content = unpack_model(prepare.fetch_package("@mediapipe/objectron", tmp_path) / files)
    specification = ARCHITECTURES[SMALL].specify(320, {1: "raccoon"})
    with Image.open(min((RACCOON.path / "images").iterdir())) as photograph:
        pixels = preprocess(np.asarray(photograph.convert("RGB")), specification)[None]
    interpreter = Interpreter(model_content=backbone_alone(content))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], pixels.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    wanted = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    network = build_network(specification)
    variables, (values, origin) = network.variables_by_name(), read_packaged(FOLDER / f"{BACKBONE}.npz")
    assert len(values) == 260 and origin["license"] == "Apache-2.0"
    for name, value in values.items():
        variables[name].assign(value)
    (backbone,) = network.backbone
    found = backbone(pixels, training=False)["6"].numpy()
    assert found.shape == wanted.shape == (1, 10, 10, 1280)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    assert wanted.max() > 1
