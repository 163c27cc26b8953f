"""Repairs INT8 files that lose too much: keeps their worst layers in float32, as few as are enough."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from boxcar.config.conversion_settings import Conversion
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.children import Child, run_children
from boxcar.export.file_checks import CheckedFile, FileToCheck
from boxcar.inference.specification import SPECIFICATION, Specification, specification_json
from boxcar.run.progress import Progress
from boxcar.storage import replace_text

LAYERS = "layers.json"  # next to the files that are tried: the layers that each try keeps in float32
SELECTIVE_SECONDS = 1800.0
SECONDS_PER_IMAGE = 3.0  # of calibration: what RetinaNet at 640 pixels takes on one core, with a margin

_KINDS = ("tflite_int8", "tflite_int8_nms")


def loses_too_much(found: CheckedFile, conversion: Conversion) -> bool:
    """Whether an INT8 file's AP50 is so far below the SavedModel's that its worst layers should stay in float32.

    That is beyond the limit that would refuse it, or, for raw heads, more than `int8_max_drop` and significant (the 95 %
    interval of the paired bootstrap excludes 0). A file that answers with detections also loses something by its operator,
    which no layer in float32 brings back.
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
    check: Callable[[Sequence[FileToCheck], str], Sequence[CheckedFile]],
) -> list[CheckedFile]:
    """Makes the INT8 files again with their worst layers in float32 if they lose too much, the same layers in each.

    Args:
        found: the checks of all exported files.
        frozen, records: the folders that `freeze` and `records` wrote.
        work: a folder for temporary files.
        specification: of the detector.
        conversion: the settings.
        check: checks files as those in `found` were; it takes the title of its progress bar.

    Returns:
        The checks of all exported files, in the same order. The try with the fewest layers in float32 that does not lose
        too much takes the files' places; if all lose too much, the one with the highest AP50.

    Raises:
        BoxcarError: as `children.run_children`, if the files as they are would be refused.
    """
    whole = [one for one in found if one.file.kind in _KINDS]
    if not whole or not loses_too_much(whole[0], conversion):  # raw heads first, where both are there
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
        checked = check(files, f"Comparing with {len(layers)} layers in float32")
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
    """Of files with ever more layers in float32, the first that do not lose too much.

    If all do, those with the highest AP50, preferably among those that break no limit.
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
    """Writes the files to try into `folder`; returns the layers that each try keeps in float32."""
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
