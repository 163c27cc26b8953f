"""`failure.json`: why a run stopped, in the words that the last line on stderr said too."""

from datetime import UTC, datetime
from pathlib import Path

from boxcar.errors import BoxcarError
from boxcar.storage import replace_json

FAILURE = "failure.json"
LOCK = ".lock"  # of a folder that a run was begun in

_SIGNS = (LOCK, "records")


def record_failure(run: Path, step: str, error: BoxcarError) -> None:
    """Writes `<run>/failure.json`, where that folder is a run's."""
    if any((run / sign).exists() for sign in _SIGNS):
        replace_json(
            run / FAILURE,
            {
                "step": step,
                "code": int(error.code),
                "what": error.what,
                "do": error.do,
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )


def clear_failure(run: Path) -> None:
    """Removes the record: the run goes well again."""
    (run / FAILURE).unlink(missing_ok=True)
