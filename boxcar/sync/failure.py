"""`failure.json`: why a run stopped, in the same words as the last line on stderr."""

from datetime import UTC, datetime

from boxcar.errors import BoxcarError
from boxcar.run.layout import FAILURE, LOCK, RECORDS
from boxcar.storage import replace_json
from boxcar.sync.mirror import Mirror


def record_failure(run: str, step: str, error: BoxcarError) -> None:
    """Writes `<run>/failure.json`, also in the bucket. Does nothing if that folder is not a run's."""
    mirror = Mirror(run)
    if (mirror.folder / LOCK).exists() or (mirror.folder / RECORDS).exists():
        replace_json(
            mirror.folder / FAILURE,
            {
                "step": step,
                "code": int(error.code),
                "what": error.what,
                "do": error.do,
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
        mirror.send_file(FAILURE)


def clear_failure(run: str) -> None:
    """Removes `<run>/failure.json`, because a later attempt succeeded."""
    mirror = Mirror(run)
    (mirror.folder / FAILURE).unlink(missing_ok=True)
    mirror.send_file(FAILURE)
