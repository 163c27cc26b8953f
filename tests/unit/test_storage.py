"""Local files: atomic writes, hashes that other tools confirm, and names."""

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxcar.errors import BoxcarError
from boxcar.storage import (
    folder_sha256,
    is_temporary,
    list_files,
    local_path,
    make_folder,
    read_whole_lines,
    remove_tree,
    replace_json,
    replace_text,
)
from boxcar.storage.local_files import replace_bytes


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/a/b", "/a/b"),
        ("a b/c#d?e", "a b/c#d?e"),
        ("file:///a/b%20c%23d", "/a/b c#d"),
        ("file://localhost/a", "/a"),
        ("file:/a", "/a"),
        ("~/x", str(Path.home() / "x")),
    ],
)
def test_paths_and_file_uris(uri: str, path: str) -> None:
    assert local_path(uri) == Path(path)


@pytest.mark.parametrize("uri", ["s3://bucket/run", "gs://bucket/run", "https://host/x", "file://host/x", "", "~nobody-such/x"])
def test_what_is_not_local_is_wrong_usage(uri: str) -> None:
    with pytest.raises(BoxcarError) as error:
        local_path(uri)
    assert error.value.code == 64
    assert uri in error.value.what


def test_a_reader_sees_the_old_or_the_new_text_never_a_part(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    texts = ["a" * 300_000, "b" * 300_000]
    replace_text(path, texts[0])
    done = threading.Event()

    def write() -> None:
        for number in range(40):
            replace_text(path, texts[number % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert path.read_text() in texts
    writer.join()
    assert names(tmp_path) == ["status.json"]


def test_a_refused_write_leaves_the_old_text_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "text"
    replace_text(path, "old")

    def pieces() -> Iterator[bytes]:
        yield b"new" * 100_000
        raise ValueError

    with pytest.raises(ValueError):
        replace_bytes(path, pieces())
    assert path.read_text() == "old"
    assert names(tmp_path) == ["text"]
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(BoxcarError, match="folder") as error:
        replace_text(folder, "new")
    assert error.value.code == 69
    assert names(tmp_path) == ["folder", "text"]


def test_json_has_no_nan_and_keeps_letters(tmp_path: Path) -> None:
    replace_json(tmp_path / "x.json", {"class": "Bär"})
    assert "Bär" in (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"class": "Bär"}
    with pytest.raises(ValueError, match="JSON"):
        replace_json(tmp_path / "x.json", float("nan"))


def test_temporary_files_are_known_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(Path, "replace", lambda self, target: seen.append(self.name))
    replace_text(tmp_path / "step.json", "x")
    replace_text(tmp_path / ".unfinished", "x")
    assert [is_temporary(name) for name in seen] == [True, True]
    assert not any(is_temporary(name) for name in ("step.json", ".unfinished", "a.tmp", ".gitkeep"))


def test_a_folder_hash_is_what_the_shell_says(tmp_path: Path) -> None:
    for name, content in {"z.bin": b"\0" * 10, "a/b c.txt": b"x", "a/d/é.txt": b"", "B": b"x"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    script = "find . -type f -printf '%P\\0' | xargs -0 sha256sum | LC_ALL=C sort | sha256sum | cut -d' ' -f1"
    said = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()
    assert folder_sha256(tmp_path) == (said, 12)
    assert list_files(tmp_path) == ["B", "a/b c.txt", "a/d/é.txt", "z.bin"]
    # Hidden names are no part of it, any other change is.
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / ".folder").mkdir()
    (tmp_path / ".folder" / "x").write_text("x")
    assert folder_sha256(tmp_path)[0] == said
    (tmp_path / "B").rename(tmp_path / "C")
    assert folder_sha256(tmp_path)[0] != said


def test_only_whole_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert read_whole_lines(path) == []
    path.write_bytes(b"")
    assert read_whole_lines(path) == []
    # JSON leaves U+2028 and U+0085 as they are; the last line is cut in the middle of a letter.
    path.write_bytes("one\u2028still one\ntwo\x85still two\n\nfo".encode() + "ü".encode()[:1])
    assert read_whole_lines(path) == ["one\u2028still one", "two\x85still two", ""]


def test_remove_tree_takes_files_folders_and_links_not_what_links_point_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "file").write_text("x")
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    for name in ("link", "file", "tree", "nothing"):
        remove_tree(tmp_path / name)
    assert list_files(tmp_path) == ["kept/file"]
    assert names(tmp_path) == ["kept"]


def test_a_folder_where_a_file_lies_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BoxcarError, match="file") as error:
        make_folder(tmp_path / "file" / "below")
    assert error.value.code == 69
