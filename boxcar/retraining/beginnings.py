"""What a retraining begins with of its model, whether that can come to a version, and whether it still can later."""

import json
from typing import NamedTuple

from boxcar.config.run_settings import Configuration
from boxcar.data.held_out_list import read_frozen_test
from boxcar.errors import BoxcarError, ExitCode
from boxcar.registry import Model, held_out_list, read_aliases, read_version
from boxcar.registry.aliases import NoModelError
from boxcar.registry.promotions import find_version, last_promotion
from boxcar.retraining.ledger import Entry
from boxcar.retraining.telling import say
from boxcar.run.layout import DATASET, LABEL_MAP, RECORDS
from boxcar.storage import Missing, fetch_file, open_store


class Beginnings(NamedTuple):
    """What a run has of its model.

    Attributes:
        start: weights, as the configuration has them.
        label_map, frozen_test: URIs; None for a model's first run.
    """

    start: str | None
    label_map: str | None
    frozen_test: str | None


def beginnings(model: Model, configuration: Configuration) -> Beginnings:
    """Weights, label map and test images that a run which begins now has.

    Raises:
        BoxcarError: 65 where the model cannot be understood or its champion is partly uploaded.
    """
    try:
        state = read_aliases(model)
    except NoModelError:
        return Beginnings(configuration.init, configuration.label_map, configuration.frozen_test)
    test = held_out_list(model, state.test)
    if state.champion is None:
        return Beginnings(configuration.init, configuration.label_map, test)
    champion = f"{model.uri}/{state.champion}"
    start = configuration.init
    if configuration.retraining.start == "champion":
        architecture = read_version(model, state.champion).architecture
        if architecture == configuration.architecture:
            start = f"{champion}/export/saved_model/checkpoint"
        else:
            say(f"The champion is a {architecture}, whose weights do not fit. Starting from other weights.")
    return Beginnings(start, f"{champion}/{RECORDS}/{LABEL_MAP}", test)


def check_gate(configuration: Configuration) -> None:
    """Refuses a gate that could only refuse what comes of the training, since its file is not among those to be exported.

    Raises:
        BoxcarError: 64.
    """
    shipped, exported = configuration.gate.format, ("saved_model", *configuration.formats)
    if shipped not in exported:
        there = ", ".join(exported)
        what = f"The gate compares versions on {shipped}, but the exported files are {there}."
        raise BoxcarError(ExitCode.USAGE, what, "Set gate.format to one of these, or add it to formats.")


def check_floors(model: Model, configuration: Configuration) -> None:
    """Refuses a floor of a class that the champion does not know, unless new classes may come with the images.

    Raises:
        BoxcarError: 64 for such a floor; 65 as `beginnings`.
    """
    gate = configuration.gate
    try:
        champion = read_aliases(model).champion
    except NoModelError:
        return  # which classes there are is found in the images
    if not gate.class_floors or gate.accept_new_classes or champion is None:
        return
    known = read_version(model, champion).labels.values()
    unknown = [name for name in gate.class_floors if name not in known]
    if unknown:
        what = f"gate.class_floors has {', '.join(unknown)}, but the champion knows only {', '.join(known)}."
        raise BoxcarError(ExitCode.USAGE, what, "Correct the name, or set gate.accept_new_classes if the class is new.")


def may_go_on(model: Model, entry: Entry, now: Beginnings) -> bool:
    """Whether what an entry has begun can still become a version that the gate takes.

    Trained with other test images or another champion's label map it would be refused, tonight and every night.

    Args:
        model: which.
        entry: one that is not over.
        now: what would be begun with now.

    Raises:
        BoxcarError: 65 where the model cannot be understood, 69 where it or the run cannot be reached.
    """
    begun = Beginnings(entry.start, entry.label_map, entry.frozen_test)
    if begun == now:
        return True
    number = find_version(model, entry.run)
    if number is not None and last_promotion(read_aliases(model), number) is not None:
        return True  # it is done, and was killed before it was written down
    # A first run makes the model's test images of its own ones.
    without_test = begun.frozen_test is None and now.frozen_test is not None
    return without_test and begun == now._replace(frozen_test=None) and _has_test(entry.run, now.frozen_test or "")


def _has_test(run: str, frozen_test: str) -> bool:
    """Whether a run's own test images are those of a list."""
    try:
        dataset = json.loads(open_store(run).read(f"{RECORDS}/{DATASET}"))
    except Missing:
        return False
    return read_frozen_test(fetch_file(frozen_test)) == frozenset(dataset["splits"]["test"]["images"])
