"""What is found out of an exported file before it is believed: what it takes, what goes in and out, and how it answers."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from boxcar.config.conversion import Limits
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.children import Child, run_children
from boxcar.export.parity import Candidate, compare
from boxcar.export.pictures import ParityPictures
from boxcar.export.verdict import Cost, Failure, Verdict, failure_table
from boxcar.inference.embedded import differing_labels, read_embedded
from boxcar.inference.open import open_runner
from boxcar.inference.runner import HeadsRunner, Runner, Tensor
from boxcar.inference.specification import Specification
from boxcar.run.progress import Progress
from boxcar.storage import file_sha256, folder_sha256, make_folder

THREADS = 2  # that the files are timed with
MEMORY_SECONDS = 1800.0  # some ten on a machine of its own; one that others share may take long


@dataclass(frozen=True)
class ExportedFile:
    """A file, or a folder that is one model."""

    kind: str  # its format
    path: Path
    name: str  # its path in `export/`, by which a person knows it


@dataclass(frozen=True)
class Examined:
    """One file, as it was found.

    Attributes:
        file: which.
        sha256: of the file, or as `folder_sha256` gives it.
        inputs, outputs: as its runner tells them.
        cost: what it takes.
        verdict: how it answers.
        float_layers: those that an INT8 file computes in float32.
        note: what else a person should know.
    """

    file: ExportedFile
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    cost: Cost
    verdict: Verdict
    float_layers: tuple[str, ...] = ()
    note: str = ""


def examine(
    model: HeadsRunner,
    files: Sequence[ExportedFile],
    pictures: ParityPictures,
    limits: Limits,
    work: Path,
    title: str,
) -> tuple[Examined, list[Examined]]:
    """Looks at a SavedModel and at files made of it.

    Args:
        model: the SavedModel; its `path` is `saved_model/` in the folder that `freeze` wrote.
        files: the files.
        pictures: that they are compared on.
        limits: what they are held to.
        work: a folder for what is written meanwhile; it is made where it is missing.
        title: what a person reads meanwhile.

    Returns:
        What was found of the SavedModel, and of each file.

    Raises:
        BoxcarError: 1 where a file has other labels inside; 70 where one cannot be run; 69 where memory runs out.
    """
    frozen = ExportedFile("saved_model", model.path.parent, "saved_model")
    with ExitStack() as opened:
        runners = [opened.enter_context(_open(file, model.specification)) for file in files]
        identities = [_identity(file.path) for file in (frozen, *files)]
        peaks = _peak_memory([frozen, *files], make_folder(work))
        costs = [Cost(size, peak) for (_, size), peak in zip(identities, peaks, strict=True)]
        candidates = [Candidate(file.kind, runner, cost) for file, runner, cost in zip(files, runners, costs[1:], strict=True)]
        with Progress(title, len(pictures), "pictures") as progress:
            own, verdicts = compare(model, candidates, pictures, limits, progress.advance)
    found = [
        Examined(file, sha256, runner.inputs, runner.outputs, cost, verdict)
        for file, (sha256, _), runner, cost, verdict in zip(
            [frozen, *files], identities, [model, *runners], costs, [own, *verdicts], strict=True
        )
    ]
    return found[0], found[1:]


def refuse(failures: Mapping[str, Sequence[Failure]]) -> None:
    """Raises BoxcarError 1 where any file broke a limit, with a table of them.

    Args:
        failures: by the file's path as a person knows it.
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
    """What to raise where a converter wrote what nobody can use."""
    return BoxcarError(
        ExitCode.DEFECT,
        f"The converter to {kind} failed: {reason}.",
        f"Report this, or leave {kind} out of --formats.",
    )


def _peak_memory(files: Sequence[ExportedFile], work: Path) -> list[int | None]:
    """Bytes that a process takes which only runs the file, for each; None where the system does not tell."""
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
    return [int(told) if (told := answer.read_text(encoding="ascii")) else None for answer in answers]


def _identity(path: Path) -> tuple[str, int]:
    """SHA-256 and bytes."""
    return folder_sha256(path) if path.is_dir() else (file_sha256(path), path.stat().st_size)


def _open(file: ExportedFile, specification: Specification) -> Runner:
    try:
        return open_runner(file.path, THREADS)
    except BoxcarError as error:
        if read_embedded(file.path).labels is not None and (reason := differing_labels(file.path, specification)):
            refuse({file.name: [Failure("labels", reason)]})
        if error.code in (ExitCode.USAGE, ExitCode.DATA):
            raise defect(file.kind, f"what it wrote cannot be run ({error.what.rstrip('.')})") from error
        raise
