"""What a run's bucket shows of the work in pods."""

import contextlib
import json
from typing import Any

from boxcar.errors import BoxcarError
from boxcar.run.layout import COMMIT, EVAL, SCORES, STATUS, TRAIN
from boxcar.storage import Missing, Store
from boxcar.sync.transfer import latest_checkpoint


def has_step(store: Store, folder: str) -> bool:
    """Whether a folder of the run holds a finished step. `step.json` is uploaded after the files that it lists."""
    return read_json(store, f"{folder}/{COMMIT}") is not None


def read_json(store: Store, name: str) -> dict[str, Any] | None:
    """A JSON object of a run; None if there is none."""
    try:
        found: dict[str, Any] = json.loads(store.read(name))
    except Missing:
        return None
    return found


def read_scores(store: Store) -> list[dict[str, Any]]:
    """The whole lines of `eval/scores.jsonl`, oldest first."""
    try:
        content = store.read(f"{EVAL}/{SCORES}")
    except Missing:
        return []
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def last_checkpoint(store: Store) -> int:
    """The step of the newest checkpoint; below 0 if there is none."""
    return latest_checkpoint(entry.name.removeprefix(f"{TRAIN}/") for entry in store.entries())


def last_use(store: Store, container: str) -> str:
    """A clause about the memory that a container of the trainer's pod last reported."""
    found: Any = None
    # It is part of a message about a failed run. If the bucket caused that failure, it is not reported twice.
    with contextlib.suppress(BoxcarError):
        if container == "trainer":
            found = (read_json(store, f"{TRAIN}/{STATUS}") or {}).get("memory_bytes")
        elif container == "evaluator":
            found = next((line.get("memory_bytes") for line in reversed(read_scores(store))), None)
    return f"its last reported memory use was {found / 2**30:.2f} GiB" if found else "it had not reported its memory use"
