"""The first commands: check this machine, make images to try Boxcar with, and list the detectors."""

from typing import Annotated

import typer

from boxcar.cli.command import MODELS, START, command, make_app
from boxcar.cli.options import Output
from boxcar.errors import BoxcarError, ExitCode

app = make_app()


@command(app, panel=START)
def doctor(
    output: Annotated[str, typer.Option(help="Folder for runs: check its permissions and free space.", metavar="URI")] = ".",
    data: Annotated[
        str | None, typer.Option(help="Bucket folder with images: check that it can be read.", metavar="URI")
    ] = None,
    buckets_only: Annotated[
        bool, typer.Option("--buckets-only", help="Check only the buckets, for a machine that does not train.")
    ] = False,
) -> None:
    """Check whether this machine has what Boxcar needs."""
    from boxcar.doctor import examine, examine_buckets, print_findings

    findings = examine_buckets(output, data) if buckets_only else examine(output, data)
    if not findings:
        raise BoxcarError(ExitCode.USAGE, "No bucket was named.", "Add --output or --data and an s3:// or gs:// folder.")
    print_findings(findings)
    missing = [finding for finding in findings if not finding.ok]
    if missing:
        what = f"{len(missing)} of {len(findings)} checks failed: {missing[0].what}"
        raise BoxcarError(ExitCode.ENVIRONMENT, what, missing[0].do or "See the list above.")


@command(app, panel=START)
def shapes(
    output: Output,
    pictures: Annotated[int, typer.Option(help="Number of images.")] = 640,
    image_size: Annotated[int, typer.Option(help="Width and height of each image in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed for the drawings.")] = 0,
    masks: Annotated[bool, typer.Option("--masks", help="Write the outlines of the shapes, too.")] = False,
) -> None:
    """Draw a small labeled data set to try Boxcar with."""
    from boxcar.shapes import make_shapes

    made = make_shapes(output, pictures=pictures, image_size=image_size, seed=seed, masks=masks)
    print(f"The images are in {output if '://' in output else made}.")


@command(app, panel=MODELS)
def architectures() -> None:
    """List the detectors that can be trained."""
    from boxcar.detectors.architecture_table import print_architectures

    print_architectures()
