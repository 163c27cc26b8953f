"""Checks an exported file before it ships: its size and memory, its inputs and outputs, and how it answers."""

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
MEMORY_SECONDS = 1800.0  # about 10 on an idle machine; a busy one may take long


@dataclass(frozen=True)
class FileToCheck:
    """A file, or a folder that is one model."""

    kind: str  # its format
    path: Path
    name: str  # its path in `export/`, for messages


@dataclass(frozen=True)
class CheckedFile:
    """One file and what its check found.

    Attributes:
        file: which.
        sha256: of the file, or as `folder_sha256` gives it.
        inputs, outputs: its runner's.
        cost: its size and memory.
        verdict: how it answers.
        float_layers: those that an INT8 file computes in float32.
        note: anything else a person should know.
    """

    file: FileToCheck
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    cost: Cost
    verdict: Verdict
    float_layers: tuple[str, ...] = ()
    note: str = ""


def check_files(
    model: HeadsRunner,
    files: Sequence[FileToCheck],
    images: ParityImages,
    limits: Limits,
    work: Path,
    title: str,
    own: CheckedFile | None = None,
) -> tuple[CheckedFile, list[CheckedFile]]:
    """Checks a SavedModel and files made from it.

    Args:
        model: the SavedModel; its `path` is `saved_model/` in the folder that `freeze` wrote.
        files: the files.
        images: that they are compared on.
        limits: of the comparison.
        work: a folder for temporary files; it is made if it is missing.
        title: of the progress bar.
        own: the SavedModel's earlier check, whose cost is then not measured again.

    Returns:
        The SavedModel's check, and each file's.

    Raises:
        BoxcarError: 1 where a file has other labels inside; 70 where one cannot be run; 69 where memory runs out.
    """
    frozen = FileToCheck("saved_model", model.path.parent, "saved_model")
    with ExitStack() as opened:
        runners = [opened.enter_context(_open(file, model.specification)) for file in files]
        unmeasured = [*([] if own else [frozen]), *files]
        measured = [(own.sha256, own.cost)] if own else []
        for file, peak in zip(unmeasured, measure_memory(unmeasured, make_folder(work)), strict=True):
            sha256, size = _identity(file.path)
            measured.append((sha256, Cost(size, peak)))
        candidates = [
            Candidate(file.kind, runner, cost) for file, runner, (_, cost) in zip(files, runners, measured[1:], strict=True)
        ]
        with Progress(title, len(images), "images") as progress:
            verdict, verdicts = compare(model, candidates, images, limits, progress.advance)
    found = [
        CheckedFile(file, sha256, runner.inputs, runner.outputs, cost, verdict)
        for file, (sha256, cost), runner, verdict in zip(
            [frozen, *files], measured, [model, *runners], [verdict, *verdicts], strict=True
        )
    ]
    return found[0], found[1:]


def refuse(failures: Mapping[str, Sequence[Failure]]) -> None:
    """Raises BoxcarError 1 where any file broke a limit, with a table of them.

    Args:
        failures: by the file's path in `export/`.
    """
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


def measure_memory(files: Sequence[FileToCheck], work: Path) -> list[int | None]:
    """For each file, the peak bytes of a process that only runs it; None where the system does not report it.

    Args:
        files: a process is started for each of them, a few at once.
        work: a folder for temporary files.
    """
    answers = [work / f"memory-{place}" for place in range(len(files))]
    children = [
        Child(
            file.kind,
            "boxcar.inference.peak_memory",
            (str(file.path), str(THREADS), str(answer)),
            MEMORY_SECONDS,
            doing="Measuring the memory of",
        )
        for file, answer in zip(files, answers, strict=True)
    ]
    with Progress("Measuring memory", len(children), "files") as progress:
        run_children(children, lambda child: progress.advance(note=child.format))
    return [int(peak) if (peak := answer.read_text(encoding="ascii")) else None for answer in answers]


def _identity(path: Path) -> tuple[str, int]:
    """SHA-256 and bytes."""
    return folder_sha256(path) if path.is_dir() else (file_sha256(path), path.stat().st_size)


def _open(file: FileToCheck, specification: Specification) -> Runner:
    try:
        return open_runner(file.path, THREADS)
    except BoxcarError as error:
        if read_embedded(file.path).labels is not None and (reason := differing_labels(file.path, specification)):
            refuse({file.name: [Failure("labels", reason)]})
        if error.code in (ExitCode.USAGE, ExitCode.DATA):
            raise defect(file.kind, f"what it wrote cannot be run ({error.what.rstrip('.')})") from error
        raise
