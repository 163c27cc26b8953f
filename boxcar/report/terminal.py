"""What a person reads on the terminal when a run has ended."""

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from boxcar.run.layout import EXPORT, MANIFEST, RUN_FILE
from boxcar.sync.mirror import Mirror


def print_summary(run: str) -> None:
    """Prints a finished run's scores, its exported files, where the rest is, and what to try next."""
    place = Mirror(run)
    folder = place.folder
    place.take_files([RUN_FILE, f"{EXPORT}/{MANIFEST}"])
    record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    files = json.loads((folder / EXPORT / MANIFEST).read_text(encoding="utf-8"))["files"]
    console = Console(highlight=False, soft_wrap=True)

    scores = Table(box=None, pad_edge=False)
    for name in ("class", "AP50", "AP"):
        scores.add_column(name, justify="left" if name == "class" else "right")
    scores.add_row("all", _number(record["scores"]["AP50"]), _number(record["scores"]["AP"]))
    for name, values in record["scores"]["per_class"].items():
        scores.add_row(Text(name), _number(values["AP50"]), _number(values["AP"]))

    exported = Table(box=None, pad_edge=False)
    for name in ("file", "size", "AP50", "per image"):
        exported.add_column(name, justify="left" if name == "file" else "right", overflow="fold")
    for entry in files:
        exported.add_row(
            Text(entry["path"]),
            f"{entry['bytes'] / 1e6:.1f} MB",
            _number(entry["AP50"]),
            f"{entry['milliseconds']:.1f} ms",
        )

    console.print("\nScores on the test images", style="bold")
    console.print(scores)
    console.print(f"\nExported files, in {place.below('export').uri}", style="bold", markup=False)
    console.print(exported)
    for entry in files:
        if not entry.get("judged", True):
            console.print(
                f"{entry['path']} cannot be judged: {entry.get('reason', 'the model finds too little')}.", markup=False
            )
        if entry.get("note"):
            console.print(f"{entry['path']}: {entry['note']}", markup=False)
        if entry.get("float_layers"):
            console.print(
                f"INT8 reduced the accuracy of {entry['path']} too much, "
                f"so {len(entry['float_layers'])} of its layers are kept in float32.",
                markup=False,
            )
    console.print()
    if place.remote:
        console.print(f"Run          {place.uri}, and here in {folder}", markup=False)
    console.print(f"Report       {folder / 'report' / 'index.html'}", markup=False)
    console.print(f"TensorBoard  {_command('tensorboard')} --logdir {shlex.quote(str(folder))}", markup=False)
    console.print(f"Next         {_command('boxcar')} run --data DIR --output runs/mine", markup=False)
    console.print("             (DIR: a folder with your own images and labelImg's XML files)")


def _command(name: str) -> str:
    """How to call a command of this environment from here: it need not be activated."""
    own = Path(sys.executable).parent / name
    found = shutil.which(name)
    if not own.exists() or (found is not None and Path(found).resolve() == own.resolve()):
        return name
    return shlex.quote(os.path.relpath(own) if own.is_relative_to(Path.cwd()) else str(own))


def _number(value: Any) -> str:
    return "no objects" if value is None else f"{value:.3f}"
