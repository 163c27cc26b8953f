"""An archive of labeled images is data, and one that would harm is refused."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from labelled import data_set

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records import build_records
from boxcar.records import data_folder as module
from boxcar.records.data_folder import data_folder


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path


def tarred(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        archive.add(folder, folder.name)
    return path


@pytest.mark.parametrize(("pack", "suffix"), [(zipped, ".zip"), (zipped, ".ZIP"), (tarred, ".tar"), (tarred, ".tar.gz")])
def test_an_archive_is_the_same_data_as_its_folder(tmp_path: Path, pack: Callable[[Path, Path], Path], suffix: str) -> None:
    data = data_set(tmp_path / "data")
    archive = pack(data, tmp_path / f"photos{suffix}")
    versions = []
    for number, given in enumerate((data, archive)):
        build_records(str(given), str(tmp_path / str(number)))
        versions.append(json.loads((tmp_path / str(number) / "dataset.json").read_text())["version"])
    assert versions[0] == versions[1]
    assert {path.name for path in tmp_path.iterdir()} == {"data", archive.name, "0", "1"}


def zip_of(**files: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)

    return make


def link(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo("link.jpg")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")


def twice(path: Path) -> None:
    with pytest.warns(UserWarning), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", "1")
        archive.writestr("a.jpg", "2")


def tar_with(**fields: object) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            entry = tarfile.TarInfo("a.jpg")
            for name, value in fields.items():
                setattr(entry, name, value)
            archive.addfile(entry, io.BytesIO(b""))

    return make


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("a.zip", zip_of(**{"../a.jpg": b""}), "leads out"),
        ("a.zip", zip_of(**{"b/../../a.jpg": b""}), "leads out"),
        ("a.zip", zip_of(**{"/etc/a.jpg": b""}), "leads out"),
        ("a.zip", zip_of(**{"C:\\a.jpg": b""}), "leads out"),
        ("a.zip", zip_of(**{"more.zip": b"PK"}), "another archive"),
        ("a.zip", zip_of(**{"a.jpg": bytes(3_000_000)}), "holds more than"),
        ("a.zip", zip_of(**{"a": b"", "a/b.jpg": b""}), "twice"),
        ("a.zip", link, "is a link"),
        ("a.zip", twice, "twice"),
        ("a.zip", lambda path: path.write_bytes(b"PK\x03\x04 cut short"), "damaged"),
        ("a.tar", tar_with(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
        ("a.tar", tar_with(type=tarfile.LNKTYPE, linkname="/etc/passwd"), "link"),
        ("a.tar", tar_with(type=tarfile.CHRTYPE), "device"),
        ("a.tar", tar_with(name="../a.jpg"), "leads out"),
        ("a.tar.gz", lambda path: path.write_bytes(b"\x1f\x8b\x08 no"), "damaged"),
    ],
)
def test_what_would_harm_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[Path], None], words: str
) -> None:
    monkeypatch.setattr(module, "_SMALL", 1_000_000)
    make(tmp_path / name)
    with pytest.raises(BoxcarError, match=words) as caught, data_folder(str(tmp_path / name)):
        pass
    assert caught.value.code == ExitCode.DATA
    assert [path.name for path in tmp_path.iterdir()] == [name]
