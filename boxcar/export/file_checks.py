"""Checks exported files before they ship: their size and memory, their inputs and outputs, and their answers."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from boxcar.config.conversion_settings import Limits
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.children import Child, run_children
from boxcar.export.parity import Candidate, compare
from boxcar.export.sampling import ParityImages
from boxcar.export.verdict import Cost, Failure, Verdict, failure_table
from boxcar.inference.embedded import differing_labels, read_embedded
from boxcar.inference.open_runner import open_runner
from boxcar.inference.runner import HeadsRunner, Runner, Tensor
from boxcar.inference.specification import Specification
from boxcar.run.progress import Progress
from boxcar.storage import file_sha256, folder_sha256, make_folder

THREADS = 2  # while files are timed
MEMORY_SECONDS = 1800.0  # it takes about 10 on an idle machine


@dataclass(frozen=True)
class FileToCheck:
    """A file, or a folder that contains one model."""

    kind: str  # its format
    path: Path
    name: str  # its path in `export/`, for messages


@dataclass(frozen=True)
class CheckedFile:
    """One file and what its check found."""

    file: FileToCheck
    sha256: str  # of the file; of a folder, as `folder_sha256` computes it
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    cost: Cost
    verdict: Verdict
    float_layers: tuple[str, ...] = ()  # the layers that an INT8 file computes in float32
    note: str = ""  # for people


def check_files(
    model: HeadsRunner, images: ParityImages, limits: Limits, work: Path, files: Sequence[FileToCheck], title: str
) -> tuple[Verdict, list[CheckedFile]]:
    """Checks files that were made from a SavedModel.

    Args:
        model: the SavedModel.
        images: the images to compare them on.
        limits: the limits of the comparison.
        work: a folder for temporary files; it is created if it is missing.
        files: the files.
        title: of the progress bar.

    Returns:
        The SavedModel's verdict, and each file's check.

    Raises:
        BoxcarError: 1 if the labels inside a file are wrong; 70 if one cannot be run; 69 if memory runs out.
    """
    with ExitStack() as opened:
        runners = [opened.enter_context(_open(file, model.specification)) for file in files]
        measured = measure(files, make_folder(work))
        candidates = [
            Candidate(file.kind, runner, cost) for file, runner, (_, cost) in zip(files, runners, measured, strict=True)
        ]
        with Progress(title, len(images), "images") as progress:
            verdict, verdicts = compare(model, candidates, images, limits, progress.advance)
    return verdict, [
        CheckedFile(file, sha256, runner.inputs, runner.outputs, cost, verdict)
        for file, runner, (sha256, cost), verdict in zip(files, runners, measured, verdicts, strict=True)
    ]


def refuse(failures: Mapping[str, Sequence[Failure]]) -> None:
    """Raises BoxcarError 1, with a table of the broken limits, if there are any; `failures` are by the file's path."""
    broken = [path for path, found in failures.items() if found]
    if not broken:
        return
    limits = sorted({failure.limit for found in failures.values() for failure in found} & set(Limits.model_fields))
    change = f" or change {'that limit' if len(limits) == 1 else 'those limits'} (--limit {limits[0]}=...)" if limits else ""
    raise BoxcarError(
        ExitCode.NO,
        f"{', '.join(broken)} {'does' if len(broken) == 1 else 'do'} not agree with the SavedModel.",
        f"Nothing was exported. Leave {'it' if len(broken) == 1 else 'them'} out of --formats{change}, then run the same "
        "command again.",
        failure_table(failures),
    )


def defect(kind: str, reason: str) -> BoxcarError:
    """The error for a converter that wrote an unusable file."""
    return BoxcarError(
        ExitCode.DEFECT,
        f"The converter to {kind} failed: {reason}.",
        f"Report this, or leave {kind} out of --formats.",
    )


def measure(files: Sequence[FileToCheck], work: Path) -> list[tuple[str, Cost]]:
    """The SHA-256 and the cost of each file; processes that only run the files measure their memory."""
    outputs = [work / f"memory-{place}" for place in range(len(files))]
    children = [
        Child(
            file.kind,
            "boxcar.inference.peak_memory",
            (str(file.path), str(THREADS), str(output)),
            MEMORY_SECONDS,
            doing="Measuring the memory of",
        )
        for file, output in zip(files, outputs, strict=True)
    ]
    with Progress("Measuring memory", len(children), "files") as progress:
        run_children(children, lambda child: progress.advance(note=child.format))
    measured = []
    for path, output in zip([file.path for file in files], outputs, strict=True):
        sha256, size = folder_sha256(path) if path.is_dir() else (file_sha256(path), path.stat().st_size)
        peak = output.read_text(encoding="ascii")
        measured.append((sha256, Cost(size, int(peak) if peak else None)))
    return measured


def _open(file: FileToCheck, specification: Specification) -> Runner:
    try:
        return open_runner(file.path, THREADS)
    except BoxcarError as error:
        if read_embedded(file.path).labels is not None and (reason := differing_labels(file.path, specification)):
            refuse({file.name: [Failure("labels", reason)]})
        if error.code in (ExitCode.USAGE, ExitCode.DATA):
            raise defect(file.kind, f"what it wrote cannot be run ({error.what.rstrip('.')})") from error
        raise
