"""The commands for exported files: try them, show where they come from, sign and verify them."""

from pathlib import Path
from typing import Annotated

import typer

from boxcar.cli.command import FILES, START, command, counted, make_app, say
from boxcar.cli.options import Run, VerifyKey, verify_model
from boxcar.inference.image_limit import MOST_MEGAPIXELS
from boxcar.run.layout import DRAWINGS_FOLDER

app = make_app()


@command(app, panel=START)
def detect(
    model: Annotated[str, typer.Argument(help="A .tflite file, a TensorFlow.js folder, or a SavedModel.", metavar="URI")],
    pictures: Annotated[list[str] | None, typer.Argument(help="Images, folders of images, or videos.", metavar="PATH")] = None,
    drawn: Annotated[
        str | None,
        typer.Option(
            help="Folder for the images with boxes drawn on them: a new one, or an earlier call's. "
            "[default: detections, if no other output is given]",
            metavar="DIR",
        ),
    ] = None,
    json: Annotated[
        str | None, typer.Option(help="File for the detections, one line of JSON per image.", metavar="FILE")
    ] = None,
    csv: Annotated[str | None, typer.Option(help="File for the detections as CSV.", metavar="FILE")] = None,
    score: Annotated[float, typer.Option(help="Minimum score of a detection.", min=0, max=1)] = 0.3,
    camera: Annotated[
        int | None, typer.Option(help="Number of a camera to read from until Ctrl-C; the first is 0.", min=0, max=99)
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1, max=64)] = 2,
    max_megapixels: Annotated[
        int, typer.Option(help="Megapixels that an image may have.", min=1, max=10_000)
    ] = MOST_MEGAPIXELS,
    verify_key: VerifyKey = None,
) -> None:
    """Detect objects in images, videos, or camera frames, with any exported file."""
    from boxcar.detect import detect as detect_in

    verify_model(model, verify_key)
    folder = DRAWINGS_FOLDER if drawn is None and json is None and csv is None else drawn
    written = [place for place in (folder, json, csv) if place is not None]
    found = detect_in(
        model,
        pictures or [],
        camera=camera,
        drawn=folder,
        json=json,
        table=csv,
        score=score,
        threads=threads,
        max_megapixels=max_megapixels,
        say=say,
    )
    found_in = f"{counted(found.objects, 'object')} in {counted(found.images, 'image')}"
    print(f"{found_in}, {found.milliseconds:.1f} ms per image; see {', '.join(written)}.")


@command(app, panel=START)
def demo_page(
    run: Run,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 for any free one.", min=0, max=65535)] = 8765,
    verify_key: VerifyKey = None,
) -> None:
    """Try a run's TensorFlow.js model in a browser, until Ctrl-C."""
    from boxcar.demo_page import serve

    verify_model(f"{run.rstrip('/')}/export", verify_key)
    serve(run, port, say=say)


@command(app, panel=FILES)
def show(file: Annotated[str, typer.Argument(help="An exported file, or its folder.", metavar="URI")]) -> None:
    """Show where an exported file comes from: run, container image, code, data, and the version it was compared with."""
    from boxcar.export.origin import describe_origin
    from boxcar.registry.decision_files import describe_comparisons

    print(*describe_origin(file), *describe_comparisons(file), sep="\n")


@command(app, panel=FILES)
def sign(
    folder: Annotated[str, typer.Argument(help="Exported files: <run>/export, or a copy of it.", metavar="URI")],
    key: Annotated[
        Path, typer.Option(help="Private key in PEM format, on an elliptic curve such as prime256v1.", metavar="FILE")
    ],
) -> None:
    """Sign exported files, so that anyone with the public key can detect a change."""
    from boxcar.run.layout import SIGNATURE
    from boxcar.signing import sign_folder

    count = sign_folder(folder, key)
    print(f"Signed {counted(count, 'file')} in {folder}; the signature is in {SIGNATURE} there.")


@command(app, panel=FILES)
def verify(
    folder: Annotated[str, typer.Argument(help="The signed folder.", metavar="URI")],
    key: Annotated[Path, typer.Option(help="Public key of the signer.", metavar="FILE")],
) -> None:
    """Check that signed files are unchanged. The exit code is 0 if they are, and 1 if not."""
    from boxcar.signing import verify_folder

    print(f"Verified {counted(verify_folder(folder, key), 'file')} in {folder}: all match the signature.")
