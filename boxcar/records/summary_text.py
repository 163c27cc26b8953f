"""What a person is told when the records are made."""

import json
import re
from pathlib import Path

from boxcar.run.layout import DATASET

_IMAGE = re.compile(r'\s*"[0-9a-f]{64}",?\n')


def summary_lines(records: Path) -> list[str]:
    """The split in a line, then every warning, then how many pictures were left out and where they are listed."""
    # Without the images' hashes, a line each, so that the memory needed does not depend on their number.
    with (records / DATASET).open(encoding="utf-8") as file:
        dataset = json.loads("".join(line for line in file if not _IMAGE.fullmatch(line)))
    splits = dataset["splits"]
    counts = ", ".join(f"{split['pictures']} {name}" for name, split in splits.items())
    boxes = sum(split["boxes"] for split in splits.values())
    kinds = len(dataset["label_map"])
    lines = [f"{counts} pictures; {boxes} boxes of {kinds} class{'es' if kinds != 1 else ''}."]
    lines += [f"Warning: {warning}" for warning in dataset["warnings"]]
    if dataset["faults"]:
        count = len({fault["file"] for fault in dataset["faults"]})
        lines.append(f"{count} faulty files are listed in {records / 'dataset.json'}, with what was done.")
    return lines
