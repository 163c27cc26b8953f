"""`failure.json`: why a run stopped, in the words that the last line on stderr said too."""

from datetime import UTC, datetime

from boxcar.errors import BoxcarError
from boxcar.run.layout import FAILURE, LOCK, RECORDS
from boxcar.storage import replace_json
from boxcar.sync.mirror import Mirror

_SIGNS = (LOCK, RECORDS)


def record_failure(run: str, step: str, error: BoxcarError) -> None:
    """Writes `<run>/failure.json`, where that folder is a run's, also in its bucket."""
    mirror = Mirror(run)
    if any((mirror.folder / sign).exists() for sign in _SIGNS):
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
    """Removes the record: the run goes well again."""
    mirror = Mirror(run)
    (mirror.folder / FAILURE).unlink(missing_ok=True)
    mirror.send_file(FAILURE)
