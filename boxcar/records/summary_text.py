"""The summary that is printed when records are finished."""

import json
from pathlib import Path
from typing import Any

from boxcar.run.layout import DATASET, PAGE
from boxcar.storage.cache import uri_of

# What follows if a whole split contains no object. Without one in the train split, there are no records.
_WITHOUT_OBJECTS = {
    "validation": "No image of the validation split contains an object, so no checkpoint has a score. The last is exported.",
    "test": "No image of the test split contains an object, so the detector's accuracy will be unknown.",
}


# What a group is, and by what it is known.
_GROUPS = {
    "folder": ("folder", "as --group-by asks"),
    "name": ("clip", "by their file names"),
    "time": ("series", "by the time at which they were taken"),
}


def summary_lines(records: Path) -> list[str]:
    """Lines about the format of the labels, the groups, near-duplicates, the splits, each split without objects, each warning,
    the images that were left out, and the place of the health page."""
    dataset = json.loads((records / DATASET).read_text(encoding="utf-8"))
    splits = dataset["splits"]
    counts = ", ".join(f"{split['pictures']} {name}" for name, split in splits.items())
    boxes = sum(split["boxes"] for split in splits.values())
    kinds = len(dataset["label_map"])
    lines = []
    if (labels := dataset.get("labels")) is not None:  # which earlier versions did not write
        lines.append(f"Labels: {labels['format']}, {labels['files']} file{'s' if labels['files'] != 1 else ''}.")
    if (groups := dataset.get("groups")) is not None:
        lines.append(_groups(groups))
    if (alike := dataset.get("near_duplicates")) is not None:
        lines.append(_near_duplicates(alike))
    lines += [
        f"{counts} images; {boxes} boxes of {kinds} class{'es' if kinds != 1 else ''}.",
    ]
    lines += [f"Warning: {sentence}" for name, sentence in _WITHOUT_OBJECTS.items() if not splits[name]["boxes"]]
    lines += [f"Warning: {warning}" for warning in dataset["warnings"]]
    if dataset["faults"]:
        count = len({fault["file"] for fault in dataset["faults"]})
        files = "1 faulty file is" if count == 1 else f"{count} faulty files are"
        lines.append(f"{files} listed in {records / 'dataset.json'}, with the action taken for each.")
    if (records / PAGE).exists():  # which earlier versions did not write
        lines.append(f"Health page: {uri_of(records / PAGE)}")
    return lines


def _groups(groups: dict[str, Any]) -> str:
    """A sentence about the groups, as `Groups.as_json` describes them: what was done, and why."""
    kind, why = _GROUPS.get(groups["by"], ("group", f"by {groups['by']}"))
    count, fewest, most = groups["groups"], groups["fewest_pictures"], groups["most_pictures"]
    kinds = kind if count == 1 or kind.endswith("s") else f"{kind}s"
    sizes = f"{fewest} images" if fewest == most else f"{fewest} to {most} images"
    single = ""
    if alone := groups["single_pictures"]:
        single = f" and {alone} single image{'s' if alone > 1 else ''}"
    if groups["automatic"]:
        why += ", which look like frames of video"
    where = "each is in one split"
    if straddling := groups["in_several_splits"]:
        where += f", except {straddling} that folders or lists divide"
    return f"Groups: {count} {kinds} of {sizes}{single}, {why}; {where}."


def _near_duplicates(alike: dict[str, Any]) -> str:
    """A sentence about near-duplicates, as `near_duplicates_json` describes them."""
    sets = "1 set" if alike["sets"] == 1 else f"{alike['sets']} sets"
    where = "each set is in one split"
    if divided := alike["in_several_splits"]:
        where += f", except {divided}"
    one, other, *_ = alike["files"][0]
    return f"Near-duplicates: {alike['pictures']} images in {sets}, such as {one} and {other}; {where}."
