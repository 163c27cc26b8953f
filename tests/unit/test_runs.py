"""Runs in a folder: which there are, which may go, and what a kill in the middle of that leaves."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import registered
from command import boxcar, last_words
from storage_servers import GCS, Server

from boxcar.errors import BoxcarError, ExitCode
from boxcar.retention import PrunePlan, find_runs, plan_prune, prune, pruning
from boxcar.retention.run_list import FoundRun
from boxcar.run.step import Step, read_commit
from boxcar.storage import open_store
from boxcar.storage.folder_store import FolderStore
from boxcar.storage.store import Store

CONFIG = "data: data/shapes\narchitecture: ssd_mobilenet_v2_fpnlite_320x320\n"


@pytest.fixture(params=["local", "minio", GCS])
def runs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty folder of runs."""
    monkeypatch.setenv("BOXCAR_CACHE", str(tmp_path / "cache"))
    if request.param == "local":
        return str(tmp_path / "runs")
    server: Server = request.getfixturevalue(request.param)
    for name, value in server.environment(server.address).items():
        monkeypatch.setenv(name, value)
    return f"{server.scheme}://{server.make_bucket()}/team/runs"


def write(store: Store, run: str, **files: str | None) -> None:
    """A finished run of a few files, the last written the newest; others or none in the place of some, `__` for `/`."""
    step = json.dumps({"step": "x", "files": {}, "inputs": {}, "parameters": {}, "code_version": "0", "seconds": 1})
    status = json.dumps({"state": "DONE", "step": 500, "beat": time.time(), "last_checkpoint": 500})
    contents: dict[str, str | None] = {
        "config.yaml": CONFIG,
        "records/step.json": step,
        "records/train-00000-of-00001.tfrecord": "pictures",
        "train/status.json": status,
        "train/ckpt-500.json": "{}",
        "train/ckpt-500.index": "weights",
        "eval/scores.jsonl": "{}\n",
        "export/step.json": step,
        "report/step.json": step,
        "run.json": "{}",
        "decision.json": "{}",
    }
    contents |= {name.replace("__", "/").replace("_DOT_", "."): content for name, content in files.items()}
    for name, content in contents.items():
        if content is not None:
            store.write(f"{run}/{name}", content.encode())
    time.sleep(0.02)  # times of buckets have milliseconds


UNFINISHED: dict[str, str | None] = {"run_DOT_json": None, "report__step_DOT_json": None}


def write_step(folder: Path) -> None:
    with Step(folder.name, folder, {}, {}).writing():
        pass


def names(runs: list[FoundRun]) -> list[str]:
    return [run.name for run in runs]


def reasons(plan: PrunePlan) -> dict[str, str]:
    return {run.name: reason for run, reason in plan.keep}


def carry_out(runs: str, store: Store, plan: PrunePlan) -> list[BoxcarError]:
    return [refused for _, refused in prune(runs, store, plan) if refused is not None]


def test_only_runs_are_listed(runs: str) -> None:
    store = open_store(runs)
    write(store, "a")
    write(store, "b", failure_DOT_json="{}", **UNFINISHED)
    write(store, "c", **UNFINISHED)
    running = json.dumps({"state": "RUNNING", "step": 40, "beat": time.time(), "last_checkpoint": None})
    write(store, "d", train__status_DOT_json=running, **UNFINISHED)
    write(store, "e", thesis_DOT_tex="years of work")
    write(store, "f", config_DOT_yaml="model: transformer\n")
    write(store, "g", config_DOT_yaml="\t")
    for name, code in (("interrupted", 130), ("evicted", 75), ("faulty", 65)):
        write(store, name, failure_DOT_json=json.dumps({"code": code}), **UNFINISHED)
    store.write("holiday/picture.jpg", b"sea")
    found, others = find_runs(runs, store)
    assert [(run.name, run.state, run.step) for run in found] == [
        ("faulty", "failed", 500),
        ("evicted", "stopped", 500),
        ("interrupted", "stopped", 500),
        ("d", "training", 40),
        ("c", "started", 500),
        ("b", "failed", 500),
        ("a", "finished", 500),
    ]
    assert all(time.time() - 600 < run.changed < time.time() + 600 for run in found)
    assert found[-1].uri == f"{runs}/a"
    assert found[-1].bytes == sum(entry.bytes for entry in store.entries("a")) > 100
    assert others == {
        "e": "it holds thesis.tex, which is not a file of a run",
        "f": "its config.yaml does not belong to a run",
        "g": "its config.yaml does not belong to a run",
        "holiday": "it has no config.yaml",
    }


@pytest.mark.parametrize("beat", ['"soon"', "null", "[]", "1" + 400 * "0", "1e999x"])
def test_a_heartbeat_that_is_not_a_time_hides_no_other_run(tmp_path: Path, beat: str) -> None:
    store = FolderStore(tmp_path)
    write(store, "a")
    write(store, "b", train__status_DOT_json=f'{{"state": "RUNNING", "step": "x", "beat": {beat}}}', **UNFINISHED)
    write(store, "c", train__status_DOT_json="[", **UNFINISHED)
    os.utime(tmp_path / "b" / "train" / "status.json", (1_700_000_000, 1_700_000_000))
    found, others = find_runs(str(tmp_path), store)
    assert [(run.name, run.state, run.step) for run in found] == [
        ("c", "started", None),
        ("b", "started", None),
        ("a", "finished", 500),
    ]
    assert others == {}
    assert reasons(plan_prune(str(tmp_path), store, 1))["b"].endswith("may still be active")


@pytest.mark.parametrize(
    ("key", "place", "words"),
    [
        ("data", "~nobodyhere/x", "~nobodyhere/x names the home folder of a user who does not exist here"),
        ("init", "~nobodyhere/x", "~nobodyhere/x names the home folder of a user who does not exist here"),
        ("init", "http://zoo/x", "http://zoo/x is not on this machine"),
    ],
)
def test_a_path_that_is_not_valid_hides_no_other_run(tmp_path: Path, key: str, place: str, words: str) -> None:
    store = FolderStore(tmp_path)
    write(store, "a")
    settings = {"data": "pictures", key: place}
    write(store, "b", config_DOT_yaml=json.dumps(settings), **UNFINISHED)
    found, others = find_runs(str(tmp_path), store)
    assert names(found) == ["a"]
    assert others == {"b": f"its config.yaml cannot be read: {words}"}
    assert names(plan_prune(str(tmp_path), store, 0).remove) == ["a"]


def test_only_old_runs_are_removed(runs: str) -> None:
    store = open_store(runs)
    for name in ("a", "b", "c", "d", "e"):
        write(store, name)
    store.write("holiday/picture.jpg", b"sea")
    plan = plan_prune(runs, store, 2, referred=[f"{runs}/b/", f"{runs}/elsewhere"], at_work=[f"{runs}/c"])
    assert reasons(plan) == {
        "e": "one of the last 2",
        "d": "one of the last 2",
        "c": "a Job uses it",
        "b": "a model refers to it",
    }
    assert names(plan.remove) == ["a"]
    before = {entry.name: entry.tag for entry in store.entries()}
    assert carry_out(runs, store, plan) == []
    after = {entry.name: entry.tag for entry in store.entries()}
    assert after == {name: tag for name, tag in before.items() if not name.startswith("a/")}
    assert plan_prune(runs, store, 2, referred=[f"{runs}/b"], at_work=[f"{runs}/c"]).remove == []


def test_runs_that_may_be_active_stay(runs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(runs)
    write(store, "weights")
    write(store, "young", config_DOT_yaml=CONFIG + f"init: {runs}/weights/train/ckpt-500\n", **UNFINISHED)
    # Clocks that are an hour off: the bucket's own clock counts, too.
    for number, shift in enumerate((-3600, 3600)):
        status = json.dumps({"state": "RUNNING", "step": 40, "beat": time.time() + shift, "last_checkpoint": None})
        write(store, f"trains{number}", train__status_DOT_json=status, **UNFINISHED)
    plan = plan_prune(runs, store, 0)
    assert plan.remove == []
    assert reasons(plan) == {
        "trains1": "it is training",
        "trains0": "it is training",
        "young": "it is not finished, changed 0.0 hours ago, and may still be active",
        "weights": "young starts from its weights",
    }
    monkeypatch.setattr(pruning, "UNFINISHED_SECONDS", -1.0)
    assert names(plan_prune(runs, store, 0).remove) == ["young", "weights"]


@pytest.mark.parametrize("place", [".lock", "records", "export"])
def test_a_run_that_a_process_has_locked_stays(runs: str, place: str, tmp_path: Path) -> None:
    from boxcar.storage import lock
    from boxcar.sync.mirror import Mirror

    store = open_store(runs)
    write(store, "a")
    held = Mirror(f"{runs}/a").folder / place
    if place == ".lock":
        held.parent.mkdir(parents=True, exist_ok=True)
        held.touch()
    else:
        held.mkdir(parents=True, exist_ok=True)
    plan = plan_prune(runs, store, 0)
    assert names(plan.remove) == ["a"]
    descriptor = lock(held)
    assert reasons(plan_prune(runs, store, 0)) == {"a": "a process uses it"}
    # It was locked after the plan was made.
    assert len(carry_out(runs, store, plan)) == 1
    os.close(descriptor)
    assert len(store.entries("a")) >= 10
    assert carry_out(runs, store, plan_prune(runs, store, 0)) == []
    assert store.entries("a") == []


def test_a_run_that_changed_after_the_plan_stays(runs: str) -> None:
    store = open_store(runs)
    write(store, "a")
    write(store, "b")
    plan = plan_prune(runs, store, 0)
    store.write("a/train/ckpt-600.index", b"new")
    (refused,) = carry_out(runs, store, plan)
    assert refused.code == ExitCode.ENVIRONMENT
    assert f"{runs}/a has changed since it was listed" in refused.what
    assert store.folders() == ["a"]


def test_an_interrupted_removal_leaves_no_valid_step(runs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    store = open_store(runs)
    delete = type(store).delete
    seen: list[set[str]] = []
    left = 0
    while True:
        write(store, "a")
        plan = plan_prune(runs, store, 0)
        calls = 0

        def dying(self: Store, given: Any, left: int = left) -> None:
            nonlocal calls
            wanted = list(given)
            calls += 1
            # Killed in the middle of a call: some of the files are gone.
            delete(self, wanted[: len(wanted) // 2] if calls > left else wanted)
            if calls > left:
                raise Killed

        monkeypatch.setattr(type(store), "delete", dying)
        try:
            carry_out(runs, store, plan)
            break
        except Killed:
            pass
        finally:
            monkeypatch.setattr(type(store), "delete", delete)
        rest = {entry.name.removeprefix("a/") for entry in store.entries("a")}
        seen.append(rest)
        markers = {name for name in rest if name.endswith("step.json") or name == "train/ckpt-500.json"}
        files = {"records/train-00000-of-00001.tfrecord", "train/ckpt-500.index", "eval/scores.jsonl"}
        assert files <= rest or not markers, "a marker of files that are gone"
        # It counts as a run until its last file is gone, so the next call removes the rest.
        monkeypatch.setattr(pruning, "UNFINISHED_SECONDS", -1.0)
        if rest:
            assert names(plan_prune(runs, store, 0).remove) == ["a"]
        assert carry_out(runs, store, plan_prune(runs, store, 0)) == []
        assert store.entries("a") == []
        left += 1
    assert len(seen) == 3
    assert len({len(rest) for rest in seen}) == 3


def test_links_and_their_targets_stay(tmp_path: Path) -> None:
    write(FolderStore(tmp_path / "elsewhere"), "precious")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere" / "precious")
    store = open_store(str(tmp_path / "runs"))
    write(store, "a")
    (tmp_path / "runs" / "a" / "train" / "data").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "runs" / "a" / "eval" / ".scores.jsonl.1.tmp").write_text("half")
    plan = plan_prune(str(tmp_path / "runs"), store, 0)
    assert plan.others == {"link": "it is a link"}
    assert carry_out(str(tmp_path / "runs"), store, plan) == []
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["link"]
    assert len(open_store(str(tmp_path / "elsewhere")).entries("precious")) == 11


def test_the_records_of_a_removed_run_are_gone(shapes_records: Path, tmp_path: Path) -> None:
    import shutil

    run = tmp_path / "runs" / "a"
    write(FolderStore(tmp_path / "runs"), "a", records__step_DOT_json=None)
    shutil.copytree(shapes_records, run / "records", dirs_exist_ok=True)
    assert read_commit(run / "records", "records") is not None
    store = open_store(str(tmp_path / "runs"))
    (found,), _ = find_runs(str(tmp_path / "runs"), store)
    assert found.state == "finished"
    assert carry_out(str(tmp_path / "runs"), store, plan_prune(str(tmp_path / "runs"), store, 0)) == []
    assert not run.exists()


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Iterator[Path]:
        store = FolderStore(tmp_path / "runs")
        for name in ("old", "older"):
            write(store, name)
            for path in (tmp_path / "runs" / name).rglob("*"):
                os.utime(path, (1_700_000_000, 1_700_000_000 if name == "old" else 1_600_000_000))
        write(store, "new")
        store.write("holiday/picture.jpg", b"sea")
        yield tmp_path / "runs"

    def test_list(self, folder: Path) -> None:
        shown = boxcar("runs", "list", "--runs", str(folder))
        assert shown.returncode == 0, shown.stderr
        lines = shown.stdout.splitlines()
        assert [line.split()[0] for line in lines[:3]] == ["new", "old", "older"]
        assert re.fullmatch(r"older  2020-09-13 \d\d:\d\d +0\.0 MB  finished, step 500", lines[2])
        assert lines[3] == "3 runs, 0.0 MB. 1 other folder without a run: holiday (it has no config.yaml)."

    def test_list_uses_the_current_folder(self, folder: Path, tmp_path: Path) -> None:
        for current in (tmp_path, folder):  # a folder that contains `runs`, and `runs` itself
            shown = boxcar("runs", "list", cwd=current)
            assert shown.returncode == 0, shown.stderr
            assert [line.split()[0] for line in shown.stdout.splitlines()[:3]] == ["new", "old", "older"]

    def test_one_run_is_singular(self, tmp_path: Path) -> None:
        write(FolderStore(tmp_path), "only")
        assert boxcar("runs", "list", "--runs", str(tmp_path)).stdout.splitlines()[-1].startswith("1 run, ")
        assert "1 run of " in boxcar("runs", "prune", "--runs", str(tmp_path), "--keep", "0", "--no-models").stdout

    def test_prune_removes_only_with_remove(self, folder: Path) -> None:
        given = ("runs", "prune", "--runs", str(folder), "--keep", "1")
        assert "Neither --models nor --no-models was given." in last_words(boxcar(*given), 64)
        assert "Both --models" in last_words(boxcar(*given, "--no-models", "--models", "models"), 64)
        before = sorted(folder.rglob("*"))
        for more in ((), ("--dry-run",)):
            shown = boxcar(*given, "--no-models", *more)
            assert shown.returncode == 0, shown.stderr
            lines = [line for line in shown.stdout.splitlines() if line.endswith("  would be removed")]
            assert [line.split()[0] for line in lines] == ["old", "older"]
            assert "2 runs of 0.0 MB would be removed. Add --remove to remove them." in shown.stdout
            assert sorted(folder.rglob("*")) == before
        shown = boxcar(*given, "--no-models", "--remove")
        assert shown.returncode == 0, shown.stderr
        assert f"Removed {folder}/older.\nRemoved {folder}/old.\nRemoved 2 runs of" in shown.stdout
        assert sorted(path.name for path in folder.iterdir()) == ["holiday", "new"]

    def test_the_run_of_a_version_stays(self, folder: Path, tmp_path: Path) -> None:
        from boxcar.registry import Model, add_version

        run = registered.write_run(folder / "oldest")
        (run / "config.yaml").write_text(CONFIG)
        (run / "run.json").write_text("{}")
        write_step(run / "report")
        for path in run.rglob("*"):
            os.utime(path, (1_500_000_000, 1_500_000_000))
        models = str(tmp_path / "models")
        add_version(Model(models, "pets"), str(run))
        given = ("runs", "prune", "--runs", str(folder), "--keep", "0", "--remove", "--models")
        # A typo in the registry's URI does not remove the runs that it refers to.
        assert "There is no model in" in last_words(boxcar(*given, str(tmp_path / "modles")), 64)
        shown = boxcar(*given, models)
        assert shown.returncode == 0, shown.stderr
        (line,) = [line for line in shown.stdout.splitlines() if line.startswith("oldest ")]
        assert line.endswith("kept: a model refers to it")
        assert sorted(path.name for path in folder.iterdir()) == ["holiday", "oldest"]
        add_version(Model(models, "pets"), str(run))

    def test_no_run_is_removed_while_a_version_has_an_unknown_run(self, folder: Path, tmp_path: Path) -> None:
        from boxcar.registry import Model, add_version

        model = Model(str(tmp_path / "models"), "pets")
        add_version(model, str(registered.write_run(tmp_path / "elsewhere")))
        model.store.delete(["1/step.json", "1/version.json"])
        shown = boxcar("runs", "prune", "--runs", str(folder), "--keep", "1", "--remove", "--models", model.models)
        assert shown.returncode == 0, shown.stderr
        for line in shown.stdout.splitlines()[1:3]:
            assert line.endswith("kept: it may belong to version 1 of pets, which is partly uploaded")
        assert sorted(path.name for path in folder.iterdir()) == ["holiday", "new", "old", "older"]

    def test_a_run_is_refused_as_a_folder_of_runs(self, folder: Path) -> None:
        line = last_words(boxcar("runs", "list", "--runs", str(folder / "new")), 64)
        assert "is itself a run" in line
        assert "0 runs" in boxcar("runs", "list", "--runs", str(folder / "nothing")).stdout

    def test_prune_in_a_bucket_asks_the_cluster(self, tmp_path: Path, minio: Server) -> None:
        bucket = f"s3://{minio.make_bucket()}/runs"
        environment = os.environ | minio.environment(minio.address) | {"KUBECONFIG": str(tmp_path / "none")}
        command = [sys.executable, "-m", "boxcar", "runs", "prune", "--runs", bucket, "--keep", "0", "--no-models"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == ExitCode.ENVIRONMENT, done.stderr
        assert "No Kubernetes cluster was found" in done.stderr
        assert "--no-cluster" in done.stderr
        done = subprocess.run([*command, "--no-cluster"], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "0 runs of 0.0 MB would be removed.\n"
