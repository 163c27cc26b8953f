"""The lines that a person reads when the records are made."""

import json
from pathlib import Path

from boxcar.run.layout import DATASET


def summary_lines(records: Path) -> list[str]:
    """The split in a line, then every warning, then how many images were left out and where they are listed."""
    dataset = json.loads((records / DATASET).read_text(encoding="utf-8"))
    splits = dataset["splits"]
    counts = ", ".join(f"{split['pictures']} {name}" for name, split in splits.items())
    boxes = sum(split["boxes"] for split in splits.values())
    kinds = len(dataset["label_map"])
    lines = [f"{counts} images; {boxes} boxes of {kinds} class{'es' if kinds != 1 else ''}."]
    lines += [f"Warning: {warning}" for warning in dataset["warnings"]]
    if dataset["faults"]:
        count = len({fault["file"] for fault in dataset["faults"]})
        lines.append(f"{count} faulty files are listed in {records / 'dataset.json'}, with what was done.")
    return lines
