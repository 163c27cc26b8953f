"""What is done where INT8 costs too much: its worst layers are kept in float32, as few as will do."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from boxcar.detectors.specification import SPECIFICATION, Specification, specification_json
from boxcar.export.children import Child, run_children
from boxcar.export.examination import Examined, ExportedFile
from boxcar.run.conversion import Conversion
from boxcar.run.progress import Progress
from boxcar.storage import replace_text

LAYERS = "layers.json"  # beside the files that are tried: their names, and which layers each keeps in float32
SELECTIVE_SECONDS = 1800.0


def loses_too_much(found: Examined, conversion: Conversion) -> bool:
    """Whether an INT8 file's AP50 lies so far below the SavedModel's that its worst layers should stay in float32.

    That is more than `int8_max_drop` and more than luck (the 95 % interval of the paired bootstrap excludes 0), or more than
    the limit that would refuse it.
    """
    difference = found.verdict.difference
    if difference is None or difference.point is None or found.verdict.agrees is None:
        return False
    is_drop = -difference.point > conversion.int8_max_drop and difference.is_loss
    return is_drop or any(failure.limit in ("ap50_loss", "nms_ap50_loss") for failure in found.verdict.failures)


def quantise_selectively(
    whole: Examined,
    frozen: Path,
    records: Path,
    work: Path,
    specification: Specification,
    conversion: Conversion,
    examine: Callable[[Sequence[ExportedFile]], Sequence[Examined]],
) -> Examined:
    """Makes an INT8 file again with its worst layers in float32, and puts the best answer in its place.

    Args:
        whole: the file with every layer in INT8; it stays where no other is better.
        frozen, records: the folders that `freeze` and `records` wrote.
        work: a folder for what is written meanwhile.
        specification: of the detector.
        conversion: the settings.
        examine: looks at files as `whole` was looked at.

    Returns:
        What was found of the file that now lies in `whole`'s place: the one with the fewest layers in float32 that does not
        lose too much, and where all do, the one with the highest AP50.
    """
    folder = work / f"{whole.file.kind}_selective"
    arguments = (
        whole.file.kind,
        str(frozen),
        str(records),
        str(folder),
        str(conversion.int8_pictures),
        conversion.int8_input,
    )
    with Progress("Keeping the worst layers in float32", 1, "files") as progress:
        child = Child(whole.file.kind, "boxcar.export.selective_child", arguments, SELECTIVE_SECONDS)
        run_children([child], lambda child: progress.advance(note=child.format))
    replace_text(folder / SPECIFICATION, specification_json(specification))
    layers = json.loads((folder / LAYERS).read_text(encoding="utf-8"))
    files = [ExportedFile(whole.file.kind, folder / name, whole.file.name) for name in layers]
    tried = [dataclasses.replace(found, float_layers=tuple(layers[found.file.path.name])) for found in examine(files)]
    chosen = choose([whole, *tried], conversion)
    if chosen is not whole:
        chosen.file.path.replace(whole.file.path)
    return dataclasses.replace(chosen, file=whole.file)


def choose(tried: Sequence[Examined], conversion: Conversion) -> Examined:
    """Of files with ever more layers in float32 the first that loses no more than it may, else the one of the highest AP50."""
    for found in tried:
        if not loses_too_much(found, conversion) and not found.verdict.failures:
            return found
    return max(tried, key=lambda found: found.verdict.scores["AP50"])
