"""Where an exported file comes from, as it says itself."""

import json
import shutil
from pathlib import Path

import pytest
from exported import ExportedRun
from storage_servers import Server

from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.origin import describe_origin
from boxcar.inference.embedded import read_embedded
from boxcar.storage import open_store

FILES = (
    "export/saved_model",
    "export/saved_model/saved_model",
    "export/saved_model/saved_model/saved_model.pb",
    "export/tflite/detector_float32.tflite",
    "export/tflite/detector_int8.tflite",
    "export/tflite/detector_int8_nms.tflite",
    "export/tfjs/float32",
    "export/tfjs/float32/model.json",
)


def test_every_file_says_the_same(exported_run: ExportedRun) -> None:
    provenance = json.loads((exported_run.frozen / "saved_model" / "assets" / "provenance.json").read_text())
    for name in FILES:
        rows = dict(line.split("  ", 1) for line in describe_origin(str(exported_run.folder / name)))
        rows = {key.strip(): value.strip() for key, value in rows.items()}
        assert rows["run"] == provenance["run"]
        assert rows["data version"] == "of-the-test"
        assert rows["code revision"] == (provenance["code_revision"] or "none or unknown")
        assert rows["checkpoint"] == f"step 7, sha256 {provenance['checkpoint_sha256']}"
        assert rows["labels"] == ", ".join((read_embedded(exported_run.frozen / "saved_model").labels or "").splitlines())
        assert {"pipeline version", "container image", "initial checkpoint"} <= rows.keys()


def test_in_a_bucket_only_what_says_it_travels(
    exported_run: ExportedRun, minio: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (minio.environment(minio.address) | {"BOXCAR_CACHE": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    bucket = f"s3://{minio.make_bucket()}"
    store = open_store(bucket)
    for path in exported_run.export.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            store.upload(path, f"run/{path.relative_to(exported_run.folder).as_posix()}")
    for name in FILES:
        assert describe_origin(f"{bucket}/run/{name}") == describe_origin(str(exported_run.folder / name))
    assert not list(tmp_path.rglob("*.pb")) and not list(tmp_path.rglob("*.bin"))
    with pytest.raises(BoxcarError, match="There is nothing at") as caught:
        describe_origin(f"{bucket}/run/none")
    assert caught.value.code == ExitCode.USAGE


def test_what_says_nothing(exported_run: ExportedRun, tmp_path: Path) -> None:
    with pytest.raises(BoxcarError, match="There is nothing at") as caught:
        describe_origin(str(tmp_path / "none.tflite"))
    assert caught.value.code == ExitCode.USAGE
    short = tmp_path / "short.tflite"
    shutil.copy(exported_run.export / "tflite" / "detector_float32.tflite", short)
    short.write_bytes(short.read_bytes()[:-100])
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "model.json").write_text("{}")
    for path in (short, tmp_path / "older", tmp_path):
        with pytest.raises(BoxcarError, match="provenance") as caught:
            describe_origin(str(path))
        assert caught.value.code == ExitCode.DATA
