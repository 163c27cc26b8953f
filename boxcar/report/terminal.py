"""The summary on the terminal at the end of a run."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from boxcar.data.own_names import own_name
from boxcar.report.page import run_texts, score_text
from boxcar.run.layout import EXPORT, MANIFEST, PAGE, REPORT, RUN_FILE
from boxcar.sync.mirror import Mirror


def print_summary(run: str) -> None:
    """Prints a finished run's scores, its exported files, where the other results are, and what to try next."""
    place = Mirror(run)
    folder = place.folder
    place.take_files([RUN_FILE, f"{EXPORT}/{MANIFEST}"])
    record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    files = json.loads((folder / EXPORT / MANIFEST).read_text(encoding="utf-8"))["files"]
    scores, (heading, chosen, compared) = record["scores"], run_texts(record)
    console = Console(emoji=False, highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(line, markup=False)

    console.print(f"\n{heading}", style="bold", markup=False)
    classes = [(own_name("all", scores["per_class"]), scores), *scores["per_class"].items()]
    rows = [(name, score_text(values["AP50"]), score_text(values["AP"])) for name, values in classes]
    console.print(_table(("class", "AP50", "AP"), rows))
    say(f"{chosen[0].upper()}{chosen[1:]}.")
    console.print(f"\nExported files, in {place.below(EXPORT).uri}, scored on {compared}", style="bold", markup=False)
    exported = [
        (entry["path"], f"{entry['bytes'] / 1e6:.1f} MB", score_text(entry["AP50"]), f"{entry['milliseconds']:.1f} ms")
        for entry in files
    ]
    console.print(_table(("file", "size", "AP50", "per image"), exported))
    for entry in files:
        if not entry.get("judged", True):
            say(f"{entry['path']} cannot be judged: {entry.get('reason', 'the model finds too little')}.")
        if entry.get("note"):
            say(f"{entry['path']}: {entry['note']}")
        if entry.get("float_layers"):
            kept = len(entry["float_layers"])
            say(f"INT8 reduced the accuracy of {entry['path']} too much, so {kept} of its layers are kept in float32.")
    say("")
    if place.remote:
        say(f"Run          {place.uri}, and here in {folder}")
    say(f"Report       {folder / REPORT / PAGE}")
    say(f"TensorBoard  {_command('tensorboard')} --logdir={shlex.quote(str(folder))}")
    say(f"Next         {_command('boxcar')} run --data DIR --output runs/mine")
    say("             (DIR: a folder with your own images and their labels)")


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    """A table with one column of names and columns of numbers."""
    table = Table(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _command(name: str) -> str:
    """How to call a command of this environment, which need not be activated."""
    own = Path(sys.executable).parent / name
    found = shutil.which(name)
    if not own.exists() or (found is not None and Path(found).resolve() == own.resolve()):
        return name
    return shlex.quote(os.path.relpath(own) if own.is_relative_to(Path.cwd()) else str(own))
