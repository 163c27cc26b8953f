"""Converts a SavedModel's signature `heads` to TFLite; a process of its own, because the converter can crash.

python -m boxcar.export.tflite_child FORMAT FROZEN RECORDS FILE
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from boxcar.detectors.preprocessing import check_value_range, preprocess
from boxcar.detectors.specification import read_specification
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.children import run_as_child
from boxcar.export.pictures import sample_pictures
from boxcar.export.provenance import read_provenance
from boxcar.export.tflite_file import complete

CALIBRATION_PICTURES = 100


def convert(kind: str, frozen: Path, records: Path, file: Path) -> None:
    """Writes a TFLite file. Inputs and outputs are float32 in every format: they cost next to nothing.

    Args:
        kind: `tflite_float32`, `tflite_float16`, `tflite_dynamic` or `tflite_int8`; the first and the last also with `_nms`.
        frozen: the folder that `freeze` wrote.
        records: the folder that `records` wrote, read for INT8 only.
        file: where to.

    Raises:
        BoxcarError: 65 where the records hold no training pictures, or damaged ones, or the SavedModel does not fit its
            `detector.json`.
    """
    import tensorflow as tf

    specification = read_specification(frozen)
    weights = kind.removesuffix("_nms")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(frozen / "saved_model"), signature_keys=["heads"])
    if weights != "tflite_float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if weights == "tflite_float16":
        converter.target_spec.supported_types = [tf.float16]
    if weights == "tflite_int8":
        converter.representative_dataset = lambda: calibration(records, specification.image_size)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    file.write_bytes(complete(converter.convert(), kind, specification, read_provenance(frozen)))


def calibration(records: Path, image_size: int) -> Iterator[tuple[str, dict[str, npt.NDArray[np.float32]]]]:
    """Up to 100 training pictures as the network reads them, from which INT8's ranges are measured.

    Raises:
        BoxcarError: 65 where there are none.
    """
    empty = True
    for _, picture in sample_pictures(records, "train", CALIBRATION_PICTURES):
        empty = False
        pixels = preprocess(picture, image_size)
        # The converter believes whatever it is given: pictures of another range give a file that is wrong in silence.
        check_value_range(pixels)
        yield "heads", {"image": pixels[None]}
    if empty:
        raise BoxcarError(
            ExitCode.DATA, f"{records} holds no training pictures to calibrate INT8 with.", "Add pictures to the data."
        )


def main() -> None:
    kind, frozen, records, file = sys.argv[1:]
    convert(kind, Path(frozen), Path(records), Path(file))


if __name__ == "__main__":
    run_as_child(main)
