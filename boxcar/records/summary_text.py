"""The summary that is printed when records are finished."""

import json
from pathlib import Path

from boxcar.run.layout import DATASET, PAGE
from boxcar.storage.cache import uri_of

# What follows if a whole split contains no object. Without one in the train split, there are no records.
_WITHOUT_OBJECTS = {
    "validation": "No image of the validation split contains an object, so no checkpoint has a score. The last is exported.",
    "test": "No image of the test split contains an object, so the detector's accuracy will be unknown.",
}


def summary_lines(records: Path) -> list[str]:
    """One line with the format of the labels, one with the splits, one for each split without objects, one for each warning,
    one for the images that were left out, and one with the place of the health page."""
    dataset = json.loads((records / DATASET).read_text(encoding="utf-8"))
    splits = dataset["splits"]
    counts = ", ".join(f"{split['pictures']} {name}" for name, split in splits.items())
    boxes = sum(split["boxes"] for split in splits.values())
    kinds = len(dataset["label_map"])
    lines = []
    if (labels := dataset.get("labels")) is not None:  # which earlier versions did not write
        lines.append(f"Labels: {labels['format']}, {labels['files']} file{'s' if labels['files'] != 1 else ''}.")
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
