"""Folders with files, as steps leave them, and what a store holds of them."""

import hashlib
import json
from pathlib import Path

from boxcar.storage import Store, StoredObject, list_files
from boxcar.storage.checksums import PART_BYTES

LARGE = 2 * PART_BYTES + 12_345  # three parts


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def step_json(files: dict[str, bytes], **inputs: str) -> bytes:
    listed = {name: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items()}
    return json.dumps({"step": "records", "files": listed, "inputs": inputs, "parameters": {}}).encode()


def write_step(folder: Path, files: dict[str, bytes], **inputs: str) -> Path:
    return write(folder, {**files, "step.json": step_json(files, **inputs)})


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in list_files(folder)}


def stored(store: Store) -> dict[str, bytes]:
    return {entry.name: store.read(entry.name) for entry in store.entries()}


def entry_of(store: Store, name: str) -> StoredObject:
    return next(entry for entry in store.entries() if entry.name == name)
