"""What a retraining takes from its model, and whether an interrupted one can be resumed."""

import json
from typing import NamedTuple

from boxcar.config.run_settings import Configuration
from boxcar.data.held_out_list import read_frozen_test
from boxcar.data.label_map import read_given_label_map
from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry import Model, fetch_version, held_out_list, read_aliases, read_held_out, read_version, shortage
from boxcar.registry.aliases import NoModelError
from boxcar.registry.decision_files import last_promotion
from boxcar.registry.held_out import gone
from boxcar.registry.ledger import Entry
from boxcar.registry.versions import find_version
from boxcar.retraining.notifications import say
from boxcar.run.layout import DATASET, LABEL_MAP, RECORDS
from boxcar.storage import Missing, fetch_file, open_store


class StartingPoint(NamedTuple):
    """What a run takes from its model.

    Attributes:
        start: initial weights, as in the configuration.
        label_map, frozen_test: URIs; None for a model's first run.
    """

    start: str | None
    label_map: str | None
    frozen_test: str | None


def starting_point(model: Model, configuration: Configuration) -> StartingPoint:
    """The weights, label map, and held-out test split for a run that starts now.

    Raises:
        BoxcarError: 64 for a label map with other classes than the champion's; 65 if a file of the model cannot be read, or its
            champion is gone, partly uploaded, or was changed.
    """
    try:
        state = read_aliases(model)
    except NoModelError:
        return StartingPoint(configuration.init, configuration.label_map, configuration.frozen_test)
    test = held_out_list(model, state.test)
    if state.champion is None:
        return StartingPoint(configuration.init, configuration.label_map, test)
    champion = f"{model.uri}/{state.champion}"
    start = configuration.init
    version = read_version(model, state.champion)
    fetch_version(model, state.champion)  # the gate would refuse a champion that was changed after training
    _check_label_map(configuration, version.labels)
    if configuration.retraining.start == "champion":
        architecture = version.architecture
        if architecture == configuration.architecture:
            start = f"{champion}/export/saved_model/checkpoint"
        else:
            say(f"The champion is a {architecture}, whose weights do not fit. Starting from other weights.")
    return StartingPoint(start, f"{champion}/{RECORDS}/{LABEL_MAP}", test)


def _check_label_map(configuration: Configuration, champion: dict[int, str]) -> None:
    """Refuses a configured label map that gives one of the champion's ids to another class. The champion's map replaces it."""
    if configuration.label_map is None:
        return
    for number, name in read_given_label_map(fetch_file(configuration.label_map))[0].items():
        if champion.get(number, name) != name:
            what = f"Class {number} is {name} in {configuration.label_map}, but {champion[number]} in the champion."
            do = "Leave out label_map, because the champion's is used, or create another model."
            raise BoxcarError(ExitCode.USAGE, what, do)


def check_gate(configuration: Configuration) -> None:
    """Refuses a gate that compares a format that the run does not export.

    Raises:
        BoxcarError: 64.
    """
    compared, exported = configuration.gate.format, ("saved_model", *configuration.formats)
    if compared not in exported:
        what = f"The gate compares versions on {compared}, but the exported files are {', '.join(exported)}."
        raise BoxcarError(ExitCode.USAGE, what, "Set gate.format to one of these, or add it to formats.")


def check_floors(model: Model, configuration: Configuration) -> None:
    """Refuses a floor for a class that the champion does not know, unless new classes are accepted.

    Raises:
        BoxcarError: 64 for such a floor; 65 as `starting_point`.
    """
    gate = configuration.gate
    try:
        champion = read_aliases(model).champion
    except NoModelError:
        return  # the images determine the classes
    if not gate.class_floors or gate.accept_new_classes or champion is None:
        return
    known = read_version(model, champion).labels.values()
    unknown = [name for name in gate.class_floors if name not in known]
    if unknown:
        what = f"gate.class_floors has {', '.join(unknown)}, but the champion knows only {', '.join(known)}."
        raise BoxcarError(ExitCode.USAGE, what, "Correct the name, or set gate.accept_new_classes if the class is new.")


def say_what_cannot_be_decided(model: Model, configuration: Configuration) -> None:
    """Prints why the gate cannot promote any version: the held-out test split has too few images, or no object of a class that
    has a floor. Training goes on, because a person may still promote the version.

    Raises:
        BoxcarError: 65 if a file of the model cannot be read.
    """
    try:
        state = read_aliases(model)
    except NoModelError:
        return  # the test split of the first run is not known yet; its decision says what it lacks
    if state.champion is None:
        return
    if (trouble := gone(model, state.test)) is not None:
        say(trouble)  # the records step ends the run, because it needs the list, which is gone as well
        return
    test = read_held_out(model, state.test)
    if (few := shortage(test.with_objects)) is not None:
        say(f"{model.name}: {few}")
    shown = {name for label, name in test.labels.items() if label in test.classes}
    if absent := [name for name in configuration.gate.class_floors if name not in shown]:
        what = f"The held-out test split has no object of {', '.join(absent)}, so no version can reach its floor."
        say(f"{model.name}: {what} Give the model more test images with `boxcar models retest`.")


def can_resume(model: Model, entry: Entry, now: StartingPoint) -> bool:
    """Whether the run of a retraining can still become a version that the gate accepts.

    The gate would refuse a run with another test split or another champion's label map every time.

    Args:
        model: the model.
        entry: a retraining that is not over.
        now: what a run would start from now.

    Raises:
        BoxcarError: 65 if a file of the model cannot be read; 69 if the model or the run cannot be reached.
    """
    before = StartingPoint(entry.start, entry.label_map, entry.frozen_test)
    if before == now:
        return True
    number = find_version(model, entry.run)
    if number is not None and last_promotion(read_aliases(model), number) is not None:
        return True  # it was promoted, and killed before the ledger was updated
    # A first run's own test split becomes the model's.
    return before == now._replace(frozen_test=None) and now.frozen_test is not None and _has_test(entry.run, now.frozen_test)


def _has_test(run: str, frozen_test: str) -> bool:
    """Whether the test images of a run are those of a list."""
    try:
        dataset = json.loads(open_store(run).read(f"{RECORDS}/{DATASET}"))
    except Missing:
        return False
    return read_frozen_test(fetch_file(frozen_test)) == frozenset(dataset["splits"]["test"]["images"])
