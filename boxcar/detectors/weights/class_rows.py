"""The class predictor's rows: which class of a checkpoint takes which class slot of a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from boxcar.detectors.coco_labels import COCO_LABELS, COCO_SLOTS
from boxcar.detectors.network import Network
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.specification import Specification

MOST_NAMES = 8  # of classes in a sentence

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ClassRows:
    """What a network's class predictor takes from a checkpoint.

    Attributes:
        slots: the checkpoint's class slot for each slot of the network that takes its rows; empty if none does.
        kept, new, dropped: names of classes.
        whole: whether both have the same classes in the same slots, so that every slot is taken.
        reason: why no slot is taken, as the end of a clause; empty if that is not known.
    """

    slots: Mapping[int, int]
    kept: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    whole: bool = False
    reason: str = ""

    def fill(self, start: Array, value: Array, per_cell: int) -> Array:
        """A variable of the network's `class_rows`.

        Args:
            start: its value, [..., `per_cell` x class slots]; the slots of new classes keep it.
            value: that in the checkpoint, [..., `per_cell` x class slots].
            per_cell: anchors of a cell.
        """
        if self.whole:
            return value
        rows = start.reshape(*start.shape[:-1], per_cell, -1).copy()
        rows[..., list(self.slots)] = value.reshape(*value.shape[:-1], per_cell, -1)[..., list(self.slots.values())]
        return rows.reshape(start.shape)

    def clause(self) -> str:
        """What the class predictor starts from; empty if no class is new or dropped."""
        if not self.slots:
            return f"the class predictor starts from random weights{self.reason}"
        parts = [f"the class predictor keeps {_listed(self.kept)}"]
        if self.new:
            verbs = ("is", "starts") if len(self.new) == 1 else ("are", "start")
            parts.append(f"{_listed(self.new)} {verbs[0]} new and {verbs[1]} from random weights")
        if self.dropped:
            parts.append(f"{_listed(self.dropped)} {'is' if len(self.dropped) == 1 else 'are'} dropped")
        return "; ".join(parts) if len(parts) > 1 else ""


def match_classes(network: Network, values: Mapping[str, Array], before: Specification | None, source: str) -> ClassRows:
    """Matches the classes of a network and a checkpoint by name.

    Args:
        network: with the new classes.
        values: of the checkpoint, by name.
        before: of the checkpoint's detector. If it is unknown and the class slots are as many as COCO's, so are the classes.
        source: names the checkpoint in messages.

    Raises:
        BoxcarError: 65 if the checkpoint has another number of class slots than its specification.
    """
    names, variables = class_row_names(network), network.variables_by_name()
    anchors = network.specification.anchors
    if any(name not in values or values[name].shape[:-1] != variables[name].shape[:-1] for name in names):
        return ClassRows({})
    if before is not None and (before.anchors.aspect_ratios, before.anchors.scales_per_octave) != (
        anchors.aspect_ratios,
        anchors.scales_per_octave,
    ):
        return ClassRows({}, reason=", because the checkpoint's anchors have other shapes")
    widths = {values[name].shape[-1] for name in names}
    if before is not None and widths != {before.class_slots * anchors.per_cell}:
        what = f"The class predictor of {source} does not have the {len(before.labels)} classes of its detector.json."
        raise BoxcarError(ExitCode.DATA, what, "Give a checkpoint that is with its own detector.json.")
    if before is None and widths != {COCO_SLOTS * anchors.per_cell}:
        return ClassRows({})
    specification = network.specification
    ours = _named_slots(specification)
    theirs = {name: number for number, name in COCO_LABELS.items()} if before is None else _named_slots(before)
    kept = [name for name in ours if name in theirs]
    same_width = widths == {specification.class_slots * anchors.per_cell}
    return ClassRows(
        {0: 0, **{ours[name]: theirs[name] for name in kept}} if kept else {},
        kept=tuple(kept),
        new=tuple(name for name in ours if name not in theirs),
        dropped=tuple(name for name in theirs if name not in ours),
        whole=same_width and theirs == ours,
        reason=", because it knows none of these classes",
    )


def _named_slots(specification: Specification) -> dict[str, int]:
    """The class slot of each class, by its name."""
    return {specification.labels[number]: slot for number, slot in specification.slots.items()}


def class_row_names(network: Network) -> set[str]:
    """The names of the network's `class_rows`."""
    rows = {id(variable) for variable in network.class_rows}
    return {name for name, variable in network.variables_by_name().items() if id(variable) in rows}


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f", and {more} more" if more > 0 else "")
