"""Where weights to start from may lie, and what is said where they do not."""

import functools
import hashlib
import http.server
import io
import json
import shutil
import socket
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from boxcar.config.run_settings import make_configuration
from boxcar.detectors import checkpoint_sources
from boxcar.detectors.catalog import find_architecture
from boxcar.detectors.checkpoint_sources import InitialWeights, find_checkpoint
from boxcar.detectors.weights import packaged
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.specification import SPECIFICATION, Anchors, InitialCheckpoint, Specification, specification_json
from boxcar.storage import file_sha256, open_store
from boxcar.training import initial, settle_init
from boxcar.training.initial import find_initial
from boxcar.training.plan import with_initial

NOBODY = "http://127.0.0.1:9/model.tar.gz"
RETINANET = "retinanet_resnet50_fpn_640x640"
DESCRIBED = Specification(
    architecture="ssd_mobilenet_v2_fpnlite_320x320", image_size=64, labels={1: "cat"}, anchors=Anchors(anchor_scale=2.5)
)
PARTS = {"ckpt-0.index": b"the index", "ckpt-0.data-00000-of-00001": b"the data" * 1000}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "boxcar"


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    folder = tmp_path / "model" / "checkpoint"
    folder.mkdir(parents=True)
    for name, content in PARTS.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def archive(tmp_path: Path, unpacked: Path) -> Path:
    path = tmp_path / "served" / "model.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(unpacked.parent, "model")
    return path


@pytest.fixture
def server(archive: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(archive.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http_server.server_port}"
        http_server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.startswith("/cut"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
        else:
            super().do_GET()


def content(prefix: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in prefix.parent.glob("ckpt-0.*")}


def test_every_kind_of_source_leads_to_the_same_checkpoint(unpacked: Path, archive: Path, server: str) -> None:
    sources = [str(unpacked / "ckpt-0"), str(unpacked), str(unpacked.parent), str(unpacked.parent.parent), str(archive)]
    found = [find_checkpoint(source) for source in [*sources, f"{server}/model.tar.gz"]]
    lines = sorted(f"{hashlib.sha256(data).hexdigest()}  {name.removeprefix('ckpt-0')}\n" for name, data in PARTS.items())
    by_ending = "".join(sorted(lines, key=lambda line: line.split("  ")[1]))
    assert {weights.sha256 for weights in found} == {hashlib.sha256(by_ending.encode()).hexdigest()}
    assert all(content(weights.path) == PARTS for weights in found)
    assert [weights.source for weights in found] == [*sources, f"{server}/model.tar.gz"]


def test_what_was_downloaded_is_not_downloaded_again(server: str, archive: Path, cache: Path) -> None:
    first = find_checkpoint(f"{server}/model.tar.gz")
    archive.unlink()
    assert find_checkpoint(f"{server}/model.tar.gz") == first
    assert not list(cache.glob("*.part"))


@pytest.mark.parametrize("path", ["/missing.tar.gz", "/cut.tar.gz"])
def test_what_cannot_be_downloaded_is_69_and_leaves_nothing(server: str, cache: Path, path: str) -> None:
    with pytest.raises(BoxcarError, match="cannot be downloaded") as caught:
        find_checkpoint(server + path)
    assert caught.value.code is ExitCode.ENVIRONMENT
    assert list(cache.iterdir()) == []


def test_nobody_there_is_69() -> None:
    with pytest.raises(BoxcarError, match=r"http://127\.0\.0\.1:9/model\.tar\.gz cannot be downloaded") as caught:
        find_checkpoint("http://127.0.0.1:9/model.tar.gz")
    assert caught.value.code is ExitCode.ENVIRONMENT


def test_an_archive_cannot_write_outside_and_brings_nothing_else(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "hostile.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("../../ckpt-0.index", "/tmp/model/ckpt-0.data-00000-of-00001", "model/setup.py", "model/.bashrc"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("model/ckpt-1.index")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    weights = find_checkpoint(str(path))
    assert weights.path.is_relative_to(cache)
    assert sorted(p.name for p in weights.path.parent.iterdir()) == ["ckpt-0.data-00000-of-00001", "ckpt-0.index"]


@pytest.mark.parametrize("damage", ["cut", "noise", "twice"])
def test_a_broken_archive_is_65_and_leaves_nothing(archive: Path, cache: Path, damage: str) -> None:
    if damage == "twice":
        with tarfile.open(archive, "w:gz") as tar:
            for folder in ("a", "b"):
                tar.addfile(tarfile.TarInfo(f"{folder}/ckpt-0.index"), io.BytesIO())
    else:
        whole = archive.read_bytes()
        archive.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"\x1f\x8b" + bytes(500))
    with pytest.raises(BoxcarError, match="not a valid archive") as caught:
        find_checkpoint(str(archive))
    assert caught.value.code is ExitCode.DATA
    assert list(cache.iterdir()) == []


def test_an_archive_made_to_fill_the_disk_is_stopped(archive: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_sources, "MOST_BYTES", 5000)
    with pytest.raises(BoxcarError, match="holds more than") as caught:
        find_checkpoint(str(archive))
    assert caught.value.code is ExitCode.DATA
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("folder", ["model", "model/checkpoint"])
def test_a_checkpoint_of_ours_is_described(unpacked: Path, tmp_path: Path, folder: str) -> None:
    (tmp_path / SPECIFICATION).write_text("{", encoding="utf-8")  # of something else
    assert find_checkpoint(str(unpacked / "ckpt-0")).specification is None
    (tmp_path / folder / SPECIFICATION).write_text(specification_json(DESCRIBED), encoding="utf-8")
    for source in (unpacked / "ckpt-0", unpacked, unpacked.parent):
        assert find_checkpoint(str(source)).specification == DESCRIBED


def test_a_damaged_description_is_65(unpacked: Path) -> None:
    (unpacked / SPECIFICATION).write_text('{"architecture": "x"', encoding="utf-8")
    with pytest.raises(BoxcarError, match=r"detector\.json is not a valid detector description") as caught:
        find_checkpoint(str(unpacked / "ckpt-0"))
    assert caught.value.code is ExitCode.DATA


def test_a_training_takes_the_anchors_of_the_detector_that_it_starts_from() -> None:
    architecture = find_architecture(DESCRIBED.architecture)
    fresh = architecture.specify(64, {1: "dog"}, "version")
    known = InitialWeights(Path("ckpt-1"), "ckpt-1", "0", DESCRIBED)
    started = with_initial(fresh, known)
    assert started.anchors == DESCRIBED.anchors != fresh.anchors
    assert started.initial_checkpoint == InitialCheckpoint(source="ckpt-1", sha256="0")
    assert (started.labels, started.dataset_version) == (fresh.labels, "version")
    other = DESCRIBED.model_copy(update={"architecture": RETINANET})
    for unknown in (replace(known, specification=None), replace(known, specification=other)):
        assert with_initial(fresh, unknown).anchors == fresh.anchors
    assert with_initial(fresh, None) == fresh


def test_a_folder_with_two_checkpoints_is_not_guessed_at(unpacked: Path) -> None:
    for name, data in PARTS.items():
        (unpacked / name.replace("ckpt-0", "ckpt-7")).write_bytes(data)
    with pytest.raises(BoxcarError, match="holds 2 checkpoints: ckpt-0, ckpt-7") as caught:
        find_checkpoint(str(unpacked))
    assert caught.value.code is ExitCode.USAGE


@pytest.mark.parametrize("name", ["nothing", "nothing.tar.gz", "model/ckpt-0", ""])
def test_nothing_there_is_64(tmp_path: Path, unpacked: Path, name: str) -> None:
    with pytest.raises(BoxcarError) as caught:
        find_checkpoint(str(tmp_path / name) if name else "")
    assert caught.value.code is ExitCode.USAGE


def test_the_zoo_is_taken_where_it_can_be_had(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point_zoo_at(f"{server}/model.tar.gz", monkeypatch)
    settled, sentence = settle_init(make_configuration(None, {}))
    assert (settled.init, sentence) == ("zoo", None)


def test_without_the_zoo_it_is_packaged_weights_and_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    point_zoo_at(NOBODY, monkeypatch)
    settled, sentence = settle_init(make_configuration(None, {}))
    assert settled.init == "packaged"
    assert sentence is not None and "pkg:npm/handtrackjs@0.1.5" in sentence and NOBODY in sentence
    weights = find_initial(settled)
    assert weights is not None
    assert (weights.source, weights.sha256) == ("pkg:npm/handtrackjs@0.1.5", file_sha256(weights.path))


def test_without_packaged_weights_either_it_is_random_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point_zoo_at(NOBODY, monkeypatch)
    monkeypatch.setattr(packaged, "FOLDER", tmp_path)
    settled, sentence = settle_init(make_configuration(None, {}))
    assert settled.init == "none"
    assert sentence is not None and "random weights" in sentence and "are not installed. Run `make setup`." in sentence
    # Those of the container image are there.
    assert settle_init(make_configuration(None, {}), here=False)[0].init == "packaged"
    for here in (True, False):
        settled, sentence = settle_init(make_configuration(None, {"architecture": RETINANET}), here=here)
        assert settled.init == "none"
        assert sentence is not None and f"There are no packaged weights for {RETINANET}." in sentence


def test_a_zoo_that_does_not_respond_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initial, "ZOO_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_zoo_at(f"http://127.0.0.1:{silent.getsockname()[1]}/model.tar.gz", monkeypatch)
        assert settle_init(make_configuration(None, {}))[0].init == "packaged"


def test_a_zoo_in_the_cache_needs_no_server(server: str, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_checkpoint(f"{server}/model.tar.gz")
    archive.unlink()
    point_zoo_at(f"{server}/model.tar.gz", monkeypatch)
    assert settle_init(make_configuration(None, {}))[0].init == "zoo"


@pytest.mark.parametrize("here", [True, False])
def test_packaged_weights_that_are_named_must_exist(here: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert settle_init(make_configuration(None, {"init": "packaged"}), here=here)[1] is None
    with pytest.raises(BoxcarError, match=f"There are no packaged weights for {RETINANET}") as caught:
        settle_init(make_configuration(None, {"init": "packaged", "architecture": RETINANET}), here=here)
    assert caught.value.code is ExitCode.USAGE
    if here:
        monkeypatch.setattr(packaged, "FOLDER", tmp_path)
        with pytest.raises(BoxcarError, match="are not installed") as caught:
            settle_init(make_configuration(None, {"init": "packaged"}))
        assert caught.value.code is ExitCode.ENVIRONMENT


def test_asked_for_by_name_the_zoo_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    point_zoo_at("http://127.0.0.1:9/model.tar.gz", monkeypatch)
    with pytest.raises(BoxcarError) as caught:
        settle_init(make_configuration(None, {"init": "zoo"}))
    assert caught.value.code is ExitCode.ENVIRONMENT


def point_zoo_at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from boxcar.detectors import catalog

    rows = {name: dataclasses.replace(row, zoo=address) for name, row in catalog.ARCHITECTURES.items()}
    monkeypatch.setattr(catalog, "ARCHITECTURES", rows)


def test_what_lies_in_a_bucket_is_found_as_what_lies_here(
    bucket_uri: str, unpacked: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    store = open_store(bucket_uri)
    for name, content in PARTS.items():
        store.write(f"model/checkpoint/{name}", content)
        store.write(f"model/checkpoint/other-{name}", content)
    store.write("model/saved_model.pb", b"large, and of no use here")
    store.write(f"model/{SPECIFICATION}", specification_json(DESCRIBED).encode())
    store.write("model.tar.gz", archive.read_bytes())
    expected = find_checkpoint(str(unpacked / "ckpt-0")).sha256
    for source in ("model/checkpoint/ckpt-0", "model/checkpoint", "model", "model/checkpoint/other-ckpt-0", "model.tar.gz"):
        found = find_checkpoint(f"{bucket_uri}/{source}")
        assert (found.sha256, found.source) == (expected, f"{bucket_uri}/{source}")
        assert found.specification == (None if source.endswith(".gz") else DESCRIBED)
    assert not list(cache.rglob("saved_model.pb"))
    with pytest.raises(BoxcarError, match=f"There is no checkpoint {bucket_uri}/model/checkpoint/ckpt-1") as caught:
        find_checkpoint(f"{bucket_uri}/model/checkpoint/ckpt-1")
    assert caught.value.code == ExitCode.USAGE


def write_a_run(run: str, *, best: int = 20) -> None:
    """A run with three scored checkpoints and the exported weights of the best one."""
    store = open_store(run)
    for step in (10, 20, 30):
        for name in PARTS:
            store.write(f"train/{name.replace('ckpt-0', f'ckpt-{step}')}", b"%d" % step)
    lines = [{"step": step, "AP": 0.9 if step == best else 0.5} for step in (10, 20, 30)]
    store.write("eval/scores.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode() + b'{"cut sho')
    for name in PARTS:
        store.write(f"export/saved_model/checkpoint/{name}", b"exported")
    store.write("export/saved_model/saved_model/saved_model.pb", b"a graph")
    for folder in ("train", "export/saved_model"):
        store.write(f"{folder}/{SPECIFICATION}", specification_json(DESCRIBED).encode())


def check_every_spelling(run: str) -> None:
    write_a_run(run)
    for spelling in (run, f"{run}/", f"{run}/train", f"{run}/train/"):
        found = find_checkpoint(spelling)
        assert (found.source, found.path.name, found.specification) == (f"{run}/train/ckpt-20", "ckpt-20", DESCRIBED)
        assert found.sha256 == find_checkpoint(f"{run}/train/ckpt-20").sha256
    for spelling in ("export", "export/saved_model", "export/saved_model/saved_model", "export/saved_model/checkpoint"):
        found = find_checkpoint(f"{run}/{spelling}")
        assert found.path.with_suffix(".index").read_bytes() == b"exported" and found.specification == DESCRIBED


def test_a_run_means_its_best_checkpoint_however_it_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_every_spelling(str(tmp_path / "run"))
    monkeypatch.chdir(tmp_path / "run" / "train")
    assert find_checkpoint(".").path.name == "ckpt-20" == find_checkpoint("..").path.name


def test_a_run_in_a_bucket_means_its_best_checkpoint_too(bucket_uri: str) -> None:
    check_every_spelling(bucket_uri)


def test_a_best_checkpoint_that_is_gone_is_taken_from_the_exported_files(tmp_path: Path) -> None:
    write_a_run(str(tmp_path), best=10)
    for path in (tmp_path / "train").glob("ckpt-10.*"):
        path.unlink()
    assert find_checkpoint(str(tmp_path)).path == tmp_path / "export" / "saved_model" / "checkpoint" / "ckpt-0"
    shutil.rmtree(tmp_path / "export")
    with pytest.raises(BoxcarError, match="step 10, is gone") as caught:
        find_checkpoint(str(tmp_path / "train"))
    assert caught.value.code is ExitCode.DATA, "no other checkpoint is taken for the best one"


def test_a_run_whose_checkpoints_have_no_scores_is_not_guessed_at(tmp_path: Path) -> None:
    write_a_run(str(tmp_path))
    (tmp_path / "eval" / "scores.jsonl").unlink()
    with pytest.raises(BoxcarError, match="3 checkpoints: ckpt-10, ckpt-20, ckpt-30") as caught:
        find_checkpoint(str(tmp_path / "train"))
    assert caught.value.code is ExitCode.USAGE
    (tmp_path / "eval" / "scores.jsonl").write_text("{}\n")
    with pytest.raises(BoxcarError, match="damaged") as caught:
        find_checkpoint(str(tmp_path))
    assert caught.value.code is ExitCode.DATA


def test_weights_of_another_network_are_refused_before_anything_starts(unpacked: Path) -> None:
    (unpacked.parent / SPECIFICATION).write_text(specification_json(DESCRIBED))
    given = {"init": str(unpacked)}
    assert settle_init(make_configuration(None, given))[0].init == str(unpacked)
    larger = "ssd_mobilenet_v2_fpnlite_640x640"
    assert settle_init(make_configuration(None, {**given, "architecture": larger}))[0].architecture == larger
    with pytest.raises(BoxcarError, match=f"do not fit {RETINANET}") as caught:
        settle_init(make_configuration(None, {**given, "architecture": RETINANET}))
    assert caught.value.code is ExitCode.USAGE
