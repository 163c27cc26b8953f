"""Runs whose event files are copied for TensorBoard."""

from pathlib import Path

from boxcar.storage import list_files, open_store
from boxcar.tensorboard_sync.follow import Copy

EVENTS = "events.out.tfevents"


def write(runs: str, name: str, content: bytes | str = b"") -> None:
    open_store(runs).write(name, content.encode() if isinstance(content, str) else content)


def commit(runs: str, run: str) -> None:
    for step in ("train", "eval"):
        write(runs, f"{run}/{step}/step.json", "{}")


def contents(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in list_files(folder)}


def passes(copy: Copy, count: int) -> None:
    for _ in range(count):
        copy.update()
