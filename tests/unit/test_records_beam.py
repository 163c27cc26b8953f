"""The records step in Apache Beam writes the same bytes, and says the same, as in the processes of this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import boxcar_here, last_words
from external import BEAM, ROOT
from labelled import data_set, label

from boxcar.records import build_records
from boxcar.storage import open_store
from boxcar.sync.transfer import send_folder

DATA = ROOT / "examples" / "data"
FORMATS = sorted(path.name for path in DATA.iterdir() if path.is_dir())
WORKERS = ("--", "--direct_num_workers=2", "--direct_running_mode=multi_processing")

in_beam = [BEAM.needed, pytest.mark.slow]


def beam(*arguments: str | Path, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """`boxcar records --runner beam` in the environment that has Apache Beam."""
    command = [BEAM.path, "-m", "boxcar", "records", *arguments, "--runner", "beam", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment, check=False)


def files(folder: Path) -> dict[str, bytes]:
    """The files of a finished step, except the one that says how long it took."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found.pop("step.json")
    return found


def with_faults(folder: Path) -> Path:
    """Sound pictures, and one of several kinds of faults each."""
    data_set(folder, 12)
    (folder / "p3.xml").write_text("<annotation")
    label(folder / "p4.xml", boxes=[("cat", 8, 6, 4, 30)])
    label(folder / "nothing.xml")
    (folder / "p5.jpg").write_bytes((folder / "p5.jpg").read_bytes()[:-100])
    (folder / "p6.xml").unlink()
    (folder / "test").mkdir()
    for suffix in ("jpg", "xml"):  # a copy in another split
        (folder / "test" / f"p7.{suffix}").write_bytes((folder / f"p7.{suffix}").read_bytes())
    return folder


class TestInBeam:
    pytestmark = in_beam

    def test_every_format_gives_the_same_bytes(self, tmp_path: Path) -> None:
        build = "from boxcar.records import build_records; from boxcar.records.beam.engine import BeamEngine; import sys"
        each = "[build_records(f'{sys.argv[1]}/{name}', f'{sys.argv[2]}/{name}', engine=BeamEngine()) for name in sys.argv[3:]]"
        command = [BEAM.path, "-c", f"{build}; {each}", DATA, tmp_path / "beam", *FORMATS]
        subprocess.run(command, check=True, timeout=500, env=os.environ | {"PYTHONPATH": str(ROOT)})
        for name in FORMATS:
            build_records(str(DATA / name), str(tmp_path / "local" / name))
            assert files(tmp_path / "beam" / name) == files(tmp_path / "local" / name)

    @pytest.mark.parametrize("on_fault", ["stop", "skip"])
    def test_faults_are_the_same(self, tmp_path: Path, on_fault: str) -> None:
        words = ("--data", str(with_faults(tmp_path / "data")), "--on-fault", on_fault)
        here = boxcar_here("records", *words, "--output", str(tmp_path / "local"))
        there = beam(*words, "--output", tmp_path / "beam", options=WORKERS)
        assert there.returncode == here.returncode == (65 if on_fault == "stop" else 0)
        assert there.stdout.replace("/beam", "/local") == here.stdout
        said = there.stderr.splitlines()
        expected = [line for line in here.stderr.splitlines() if "images, " not in line]
        assert said[len(said) - len(expected) :] == expected  # after Beam's own words
        if on_fault == "skip":
            assert files(tmp_path / "beam") == files(tmp_path / "local")
        else:
            assert not (tmp_path / "beam").exists()

    def test_records_of_either_kind_are_finished_for_the_other(self, tmp_path: Path) -> None:
        build_records(str(DATA / "voc"), str(tmp_path / "out"))
        before = (tmp_path / "out" / "step.json").read_bytes()
        assert beam("--data", DATA / "voc", "--output", tmp_path / "out").returncode == 0
        assert (tmp_path / "out" / "step.json").read_bytes() == before

    def test_workers_read_and_write_a_bucket(self, bucket_uri: str, tmp_path: Path) -> None:
        for name, seed in (("coco", 1), ("tfrecord", 1), ("voc", 1), ("voc", 2)):  # the last replaces
            data, output = f"{bucket_uri}/{name}", f"{bucket_uri}/out-{name}"
            send_folder(DATA / name, open_store(data))
            ended = beam("--data", data, "--output", output, "--seed", str(seed))
            assert ended.returncode == 0, ended.stderr
            build_records(str(DATA / name), str(tmp_path / name), seed=seed)
            store = open_store(output)
            there = {entry.name: store.read(entry.name) for entry in store.entries()}
            assert there.pop("step.json")
            assert there == files(tmp_path / name)

    def test_what_beam_refuses_is_wrong_usage(self, tmp_path: Path) -> None:
        ended = beam("--data", DATA / "voc", "--output", tmp_path / "out", options=("--", "--runner=NoRunner"))
        assert "NoRunner" in last_words(ended, 64)
        assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "boxcar.records.beam.pipeline", raising=False)
    ended = boxcar_here("records", "--data", str(DATA / "voc"), "--output", str(tmp_path / "out"), "--runner", "beam")
    assert "pip install 'boxcar[beam]'" in last_words(ended, 69)
    assert not (tmp_path / "out").exists()


def test_pipeline_options_need_the_runner(tmp_path: Path) -> None:
    words = ("--data", str(DATA / "voc"), "--output", str(tmp_path / "out"), "--", "--runner=FlinkRunner")
    assert "--runner beam" in last_words(boxcar_here("records", *words), 64)
