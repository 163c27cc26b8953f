"""The result of one check, and the table of all results."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    ok: bool  # whether runs can work
    what: str  # a sentence
    do: str | None = None  # what to do about it, a sentence; None if there is nothing to do


def print_findings(findings: Sequence[Finding]) -> None:
    """Prints the findings as a table on stdout."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        mark = Text("ok", "green") if finding.ok else Text("not ok", "bold red")
        # Text, not str: square brackets in a path are no markup.
        sentences = Text(finding.what if finding.do is None else f"{finding.what}\n{finding.do}")
        table.add_row(mark, Text(finding.name), sentences)
    console = Console(emoji=False)
    console.print(table)
    wrong = [finding.name for finding in findings if not finding.ok]
    console.print(Text(f"Not ok: {', '.join(wrong)}." if wrong else "Everything is ready."))
