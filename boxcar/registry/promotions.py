"""What a model's history says of a version: whether it was made the champion once, whatever is the champion now."""

from boxcar.registry.aliases import Aliases, Change
from boxcar.registry.model import Model
from boxcar.registry.versions import list_versions
from boxcar.storage import Mirror


def find_version(model: Model, run: str) -> str | None:
    """The number of the finished version that came of a run (URI); None where there is none.

    Raises:
        BoxcarError: 65 where a newer Boxcar wrote a version, 69 where the registry cannot be reached.
    """
    place = Mirror(run)
    uri = place.uri if place.remote else str(place.folder.absolute())
    return next((one.number for one in list_versions(model) if one.version is not None and one.version.run == uri), None)


def last_promotion(state: Aliases, number: str) -> Change | None:
    """The last change that made a version the champion; None where none did."""
    changes = (change for change in reversed(state.history) if (change.action, change.champion) == ("promote", number))
    return next(changes, None)
