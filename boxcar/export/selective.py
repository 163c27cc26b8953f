"""Repairs INT8 files that lose too much AP50: keeps their worst layers in float32, as few as are enough."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from boxcar.config.conversion_settings import Conversion
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.children import Child, run_children
from boxcar.export.file_checks import CheckedFile, FileToCheck
from boxcar.export.verdict import Verdict
from boxcar.inference.specification import SPECIFICATION, Specification, specification_json
from boxcar.run.progress import Progress
from boxcar.storage import replace_text

LAYERS = "layers.json"  # next to the candidate files: the layers that each of them keeps in float32
SELECTIVE_SECONDS = 1800.0
SECONDS_PER_IMAGE = 3.0  # of calibration: what RetinaNet at 640 pixels takes on one core, with a margin

_KINDS = ("tflite_int8", "tflite_int8_nms")


def loses_too_much(found: CheckedFile, conversion: Conversion) -> bool:
    """Whether an INT8 file's AP50 is so far below the SavedModel's that its worst layers should stay in float32.

    That is if the loss breaks the limit or, for a file with raw heads, if it is more than `int8_max_drop` and significant: the
    95 % interval of the paired bootstrap excludes 0. A file that returns detections also loses some AP50 by its operator, which
    layers in float32 do not recover.
    """
    if found.verdict.agrees is None:
        return False
    if any(failure.limit in ("ap50_loss", "nms_ap50_loss") for failure in found.verdict.failures):
        return True
    difference = found.verdict.difference
    if difference is None or difference.point is None or found.file.kind.endswith("_nms"):
        return False
    return -difference.point > conversion.int8_max_drop and difference.is_loss


def keep_layers_in_float(
    found: Sequence[CheckedFile],
    frozen: Path,
    records: Path,
    work: Path,
    specification: Specification,
    conversion: Conversion,
    check: Callable[[Sequence[FileToCheck], str], tuple[Verdict, Sequence[CheckedFile]]],
) -> list[CheckedFile]:
    """Converts to INT8 again with the worst layers in float32 if the INT8 files lose too much; the same layers in each file.

    Args:
        found: the checks of all exported files.
        frozen, records: the folders that `freeze` and `records` wrote.
        work: a folder for temporary files.
        specification: of the detector.
        conversion: the settings.
        check: `check_files` with all arguments but the last two.

    Returns:
        The checks of all exported files, in the same order. The files are replaced by those with the fewest layers in float32
        that do not lose too much; if all lose too much, by those with the highest AP50.

    Raises:
        BoxcarError: as `children.run_children`, if the files would be refused as they are.
    """
    whole = [one for one in found if one.file.kind in _KINDS]
    if not whole or not loses_too_much(whole[0], conversion):  # raw heads come first
        return list(found)
    folder = work / "selective"
    try:
        tries = _convert(whole, frozen, records, folder, specification, conversion)
    except BoxcarError as error:
        if any(one.verdict.failures for one in whole) or error.code not in (ExitCode.DEFECT, ExitCode.ENVIRONMENT):
            raise
        note = f"keeping its worst layers in float32 was tried, because INT8 costs it AP50, and failed: {error.what}"
        return [dataclasses.replace(one, note=note) if one in whole else one for one in found]
    tried = []
    for layers in tries:
        files = [dataclasses.replace(one.file, path=folder / f"{one.file.kind}-{len(layers)}.tflite") for one in whole]
        _, checked = check(files, f"Comparing with {len(layers)} layers in float32")
        tried.append([dataclasses.replace(one, float_layers=tuple(layers)) for one in checked])
        if _will_do(tried[-1], conversion):
            break
    chosen = choose([whole, *tried], conversion)
    for one, before in zip(chosen, whole, strict=True):
        if one is not before:
            one.file.path.replace(before.file.path)
    placed = {one.file.kind: dataclasses.replace(one, file=before.file) for one, before in zip(chosen, whole, strict=True)}
    return [placed.get(one.file.kind, one) for one in found]


def choose(tried: Sequence[Sequence[CheckedFile]], conversion: Conversion) -> Sequence[CheckedFile]:
    """The first of the candidates, sorted by their number of layers in float32, that do not lose too much.

    If all lose too much, those with the highest AP50; candidates that break no limit come first.
    """
    for files in tried:
        if _will_do(files, conversion):
            return files
    return max(tried, key=lambda files: (not any(one.verdict.failures for one in files), files[0].verdict.scores["AP50"]))


def _will_do(files: Sequence[CheckedFile], conversion: Conversion) -> bool:
    return not any(one.verdict.failures or loses_too_much(one, conversion) for one in files)


def _convert(
    whole: Sequence[CheckedFile],
    frozen: Path,
    records: Path,
    folder: Path,
    specification: Specification,
    conversion: Conversion,
) -> list[list[str]]:
    """Writes candidate files into `folder`; returns the layers that each of them keeps in float32."""
    kinds = ",".join(one.file.kind for one in whole)
    settings = (str(conversion.int8_pictures), conversion.int8_input)
    arguments = (kinds, str(frozen), str(records), str(folder), *settings)
    seconds = SELECTIVE_SECONDS + SECONDS_PER_IMAGE * conversion.int8_pictures
    with Progress("Finding the layers that INT8 harms", 1, "files") as progress:
        child = Child(kinds, "boxcar.export.selective_child", arguments, seconds)
        run_children([child], lambda child: progress.advance())
    replace_text(folder / SPECIFICATION, specification_json(specification))
    tries: list[list[str]] = json.loads((folder / LAYERS).read_text(encoding="utf-8"))
    return tries
