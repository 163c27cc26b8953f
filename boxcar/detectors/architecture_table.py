"""Prints the table of architectures."""

from rich.console import Console
from rich.table import Table

from boxcar.detectors.catalog import ARCHITECTURES


def print_architectures() -> None:
    """Prints every architecture on stdout: first the figures to compare, then its source and its exports."""
    console = Console(emoji=False, highlight=False)
    figures = Table(box=None, pad_edge=False, header_style="bold")
    figures.add_column("architecture", no_wrap=True)
    figures.add_column("input", justify="right", no_wrap=True)
    for heading in ("parameters", "multiply-adds", "COCO AP"):
        figures.add_column(heading, justify="right")
    for row in ARCHITECTURES.values():
        figures.add_row(
            row.name,
            f"{row.image_size} px",
            f"{row.parameters / 1e6:.2f} M",
            f"{row.multiply_adds / 1e9:.2f} G",
            f"{row.average_precision:.1f}",
        )
    console.print(figures)
    console.print(
        "All figures are for one image of the input size shown and the 91 class slots of COCO. The source publishes the AP."
    )
    for row in ARCHITECTURES.values():
        details = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        details.add_column(no_wrap=True)
        details.add_column()
        details.add_row("  input", f"any multiple of {row.size_multiple} from 64 to 2048 px; {row.image_size} if not given")
        details.add_row("  source", row.source)
        details.add_row("  loadable weights", row.zoo_loads)
        details.add_row("  exports to", ", ".join(row.exports))
        details.add_row(
            "  with the SavedModel",
            "a checkpoint that the Object Detection API can restore, and its pipeline.config"
            if row.api_feature_extractor
            else "a checkpoint; no pipeline.config, because the Object Detection API lacks this architecture",
        )
        console.print(f"\n[bold]{row.name}[/bold]")
        console.print(details)
