"""Uses the finished records of another run instead of building them again."""

import json
import os
import shutil
from pathlib import Path

from boxcar.data.held_out_list import frozen_test_digest, read_frozen_test
from boxcar.data.label_map import read_given_label_map, read_label_map
from boxcar.data.trainable import require_training_objects
from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import COMMIT, DATASET, LABEL_MAP
from boxcar.run.step import Committed, Step, read_commit, require_commit
from boxcar.storage import fetch_file, make_folder
from boxcar.storage.local_files import replace_bytes
from boxcar.sync.mirror import Mirror


def take_records(records: str, output: str, *, label_map: str | None = None, frozen_test: str | None = None) -> Committed:
    """Copies the finished records of another folder to `output`, file by file, `step.json` included.

    Files on the same disk are linked instead. Does nothing if `output` already contains these records.

    Args:
        records: URI of the folder that `boxcar records` or a run wrote.
        output: the step's own folder (URI).
        label_map: a `label_map.pbtxt` (URI) whose ids the records must have.
        frozen_test: a list (URI) of the images that must make up their test split.

    Raises:
        BoxcarError: 64 if `records` contains no finished records, if they do not fit `label_map` or `frozen_test`, or if
            `output` contains other files; 65 if their train split contains no object; 69 if something cannot be read or
            written.
    """
    source, result = Mirror(records), Mirror(output)
    found = require_commit(source.fetch(), "records")
    splits = json.loads((found.folder / DATASET).read_text(encoding="utf-8"))["splits"]
    require_training_objects({name: split["boxes"] for name, split in splits.items()}, records)
    if label_map is not None:
        _check_labels(records, found, read_given_label_map(fetch_file(label_map))[0])
    if frozen_test is not None:
        digest = frozen_test_digest(read_frozen_test(fetch_file(frozen_test)))
        if found.inputs.get("frozen_test") != digest:
            what = f"The test split of the records in {records} differs from the one that {frozen_test} lists."
            raise BoxcarError(ExitCode.USAGE, what, "Give records that were built with that list, or leave the list out.")
    with result.working() as folder:
        present = read_commit(folder, "records")
        if present is None:
            _copy(found, folder)
        elif present.digest != found.digest:
            what = f"The records in {output} are not those in {records}."
            raise BoxcarError(
                ExitCode.USAGE, what, "Choose another --output for a new run, or give the records it started with."
            )
        return require_commit(folder, "records")


def _check_labels(records: str, found: Committed, wanted: dict[int, str]) -> None:
    present = read_label_map(found.folder / LABEL_MAP)
    for number, name in wanted.items():
        if present.get(number) != name:
            what = f"The label map has {name} as class {number}, but the records in {records} have {present.get(number)}."
            raise BoxcarError(ExitCode.USAGE, what, "Build the records again with that --label-map.")


def _copy(found: Committed, folder: Path) -> None:
    step = Step("records", folder, found.inputs, found.parameters, hashed=found.files)
    with step.writing():
        for name in found.files:
            path = folder / name
            make_folder(path.parent)
            try:
                os.link(found.folder / name, path)
            except OSError:  # another disk, or a file system without links
                shutil.copyfile(found.folder / name, path)
    # Keeps the original duration and version.
    replace_bytes(folder / COMMIT, [(found.folder / COMMIT).read_bytes()])
