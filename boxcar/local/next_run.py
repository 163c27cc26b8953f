"""The settings of a run that starts from a finished one. The same for all launchers."""

import json
from typing import Any

from boxcar.config.run_settings import NOT_STORED, Configuration, read_configuration
from boxcar.errors import BoxcarError, ExitCode, Refused
from boxcar.run.checkpoints import kept_checkpoint
from boxcar.run.layout import COMMIT, CONFIGURATION, RECORDS, RUN_FILE, TRAIN
from boxcar.sync.mirror import Mirror

RATE_SHARE = 0.1  # of the earlier run's learning rate: its weights are good, and a high rate would lose that first
# What the number of steps decides, and where the weights come from, are not taken over.
_OWN = ("init", "checkpoint_interval_steps")
# What the finished records contain already.
_OF_RECORDS = ("data", "label_map", "frozen_test")


def settings_from(earlier: str, output: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The settings of a new run that starts from a finished one; if the new one was started already, those it has.

    They are the earlier run's, with its records, its best checkpoint as initial weights, and a tenth of its learning rate.

    Args:
        earlier: the finished run's folder (URI).
        output: the new run's folder (URI).
        asked: the settings of the command, which override those that are returned.

    Raises:
        Refused: 64 if the settings name images, records, or initial weights; if there is no such run, it is not finished, or
            it is the new one itself; or if `output` holds a run that does not start from it.
        BoxcarError: 65 if its files are damaged or its best checkpoint is gone.
    """
    for name in ("data", "records", "init"):
        if asked.get(name) is not None:
            what = f"--from takes images and weights from {earlier}, but {name} is set, too."
            raise Refused(ExitCode.USAGE, what, f"Leave out {name}, or start a run without --from.")
    place, new = Mirror(earlier), Mirror(output)
    records = place.below(RECORDS)
    if place.folder.resolve() == new.folder.resolve():
        what = f"--from and --output are both {output}. The new run needs a folder of its own."
        raise Refused(ExitCode.USAGE, what, "Choose another --output. To resume a run that is not finished, leave out --from.")
    started = read_started(new)
    if started is not None:
        if started.records is None or Mirror(started.records).folder.resolve() != records.folder.resolve():
            what = f"{new.uri} holds a run that does not start from {place.uri}."
            raise Refused(ExitCode.USAGE, what, "Choose another --output.")
        return _stored(started)
    before = read_started(place)
    if before is None:
        raise Refused(ExitCode.USAGE, f"There is no run in {place.uri}.", "Give the folder of a finished run as --from.")
    place.take_files([RUN_FILE])
    if not (place.folder / RUN_FILE).exists():
        do = f"Finish it with `boxcar run --output {place.uri} --resume` first."
        raise Refused(ExitCode.USAGE, f"The run in {place.uri} is not finished.", do)
    if asked.get("architecture") not in (None, before.architecture):
        what = f"{place.uri} trained {before.architecture}, whose weights do not fit {asked['architecture']}."
        raise Refused(ExitCode.USAGE, what, "Leave out architecture, or start a run without --from.")
    place.below(TRAIN).take_files([COMMIT])
    try:
        trained = json.loads((place.folder / TRAIN / COMMIT).read_bytes())["parameters"]
        step = int(json.loads((place.folder / RUN_FILE).read_bytes())["checkpoint_step"])
        rate = float(f"{RATE_SHARE * trained['learning_rate']:.6g}")
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        what = f"{place.uri} is damaged: {RUN_FILE} or {TRAIN}/{COMMIT} is missing or not valid."
        raise BoxcarError(ExitCode.DATA, what, "Restore these files, or give another run as --from.") from error
    settings = _stored(before)
    derived = {name: value for name, value in trained.items() if name in Configuration.model_fields and name not in _OWN}
    settings |= {name: value for name, value in derived.items() if value is not None}
    settings |= {name: None for name in _OF_RECORDS}
    settings |= {"records": records.uri, "init": kept_checkpoint(place.uri, step)}
    # The rates of two optimizers have nothing in common.
    settings["learning_rate"] = rate if asked.get("optimizer") in (None, trained.get("optimizer")) else None
    return settings


def read_started(place: Mirror) -> Configuration | None:
    """The configuration of the run in a folder; None if none was started there."""
    place.take_files([CONFIGURATION])
    return read_configuration(place.folder)


def stored_settings(output: str) -> dict[str, Any]:
    """The settings of the run in a folder (URI); none if none was started there."""
    started = read_started(Mirror(output))
    return {} if started is None else _stored(started)


def _stored(configuration: Configuration) -> dict[str, Any]:
    return configuration.model_dump(mode="json", exclude=set(NOT_STORED))
