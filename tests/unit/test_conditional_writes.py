"""Concurrent conditional writes: on every store, one of them succeeds, and the others are refused."""

import subprocess
import sys
from pathlib import Path

import pytest
from storage_servers import Server, UnconditionalGcs, serving

from boxcar.errors import BoxcarError
from boxcar.storage import ABSENT, Changed, Missing, open_store

# Each line on stdin is a tag; who writes over exactly that version says so.
RACER = """
import sys
from boxcar.storage import Changed, open_store

store = open_store(sys.argv[1])
for line in sys.stdin:
    try:
        print(store.write("a", f"{sys.argv[2]} {line}".encode(), expected=line.strip()), flush=True)
    except Changed:
        print("lost", flush=True)
"""


@pytest.fixture(params=["folder", "minio", "gcs"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    server: Server = request.getfixturevalue(request.param)
    for name, value in server.environment(server.address).items():
        monkeypatch.setenv(name, value)
    return f"{server.scheme}://{server.make_bucket()}/store"


def test_of_two_processes_at_once_one_wins_every_time(uri: str) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, uri, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for name in ("one", "two")
    ]
    try:
        tag = ABSENT
        for _ in range(20):
            for racer in racers:
                assert racer.stdin is not None
                racer.stdin.write(f"{tag}\n")
            answers = [racer.stdout.readline().strip() for racer in racers if racer.stdout is not None]
            assert answers.count("lost") == 1, answers
            won = answers.index(next(answer for answer in answers if answer != "lost"))
            tag = answers[won]
            assert open_store(uri).read("a", tag=tag).decode().startswith(("one", "two")[won])
    finally:
        for racer in racers:
            racer.communicate()


def test_an_object_is_read_with_the_tag_that_a_write_must_expect(uri: str) -> None:
    store = open_store(uri)
    assert store.entry("a") is None
    with pytest.raises(Missing):
        store.read_tagged("a")
    store.write("a", b"1")
    content, tag = store.read_tagged("a")
    entry = store.entry("a")
    assert entry is not None and (content, entry.tag, entry.bytes) == (b"1", tag, 1)
    store.write("a", b"2", expected=tag)
    with pytest.raises(Changed):
        store.write("a", b"3", expected=tag)
    assert store.read_tagged("a")[0] == b"2"


def test_a_store_that_keeps_conditions_is_taken(uri: str) -> None:
    store = open_store(uri)
    store.require_conditions()
    store.require_conditions()
    assert [entry.name for entry in store.entries()] == [".conditions"]


def test_a_server_that_passes_conditions_over_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(UnconditionalGcs(tmp_path / "gcs")) as server:
        for name, value in server.environment(server.address).items():
            monkeypatch.setenv(name, value)
        store = open_store(f"gs://{server.make_bucket()}/store")
        with pytest.raises(BoxcarError) as error:
            store.require_conditions()
    assert error.value.code == 69
    assert "does not enforce conditional writes" in error.value.what and "Amazon S3" in error.value.do


def test_a_local_file_never_looks_like_an_older_one(tmp_path: Path) -> None:
    """Even if the file system reuses an inode and the clock stands still."""
    store, tags = open_store(str(tmp_path)), [ABSENT]
    for number in range(300):
        tags.append(store.write("a", b"%03d" % number, expected=tags[-1]))
    assert len(set(tags)) == len(tags)
    for stale in tags[:-1]:
        with pytest.raises(Changed):
            store.write("a", b"x", expected=stale)
