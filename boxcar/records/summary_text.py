"""The summary that is printed when records are finished."""

import json
from pathlib import Path

from boxcar.run.layout import DATASET


def summary_lines(records: Path) -> list[str]:
    """One line with the splits, one for each warning, and one for the images that were left out."""
    dataset = json.loads((records / DATASET).read_text(encoding="utf-8"))
    splits = dataset["splits"]
    counts = ", ".join(f"{split['pictures']} {name}" for name, split in splits.items())
    boxes = sum(split["boxes"] for split in splits.values())
    kinds = len(dataset["label_map"])
    lines = [f"{counts} images; {boxes} boxes of {kinds} class{'es' if kinds != 1 else ''}."]
    lines += [f"Warning: {warning}" for warning in dataset["warnings"]]
    if dataset["faults"]:
        count = len({fault["file"] for fault in dataset["faults"]})
        files = "1 faulty file is" if count == 1 else f"{count} faulty files are"
        lines.append(f"{files} listed in {records / 'dataset.json'}, with the action taken for each.")
    return lines
