"""Converts a SavedModel's signature `heads` to TFLite, in its own process because the converter can crash.

python -m boxcar.export.tflite_child FORMATS FROZEN RECORDS FOLDER INT8_PICTURES INT8_INPUT
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.children import run_as_child
from boxcar.export.provenance import read_provenance
from boxcar.export.sampling import sample_images
from boxcar.export.tflite_file import complete
from boxcar.inference.preprocessing import check_value_range, preprocess
from boxcar.inference.specification import Specification, read_specification
from boxcar.storage.cache import uri_of
from boxcar.storage.plain_path import plain_path


def convert(kinds: Sequence[str], frozen: Path, records: Path, folder: Path, int8_pictures: int, int8_input: str) -> None:
    """Writes TFLite files of the same weights. Outputs are float32 in every format: that costs next to nothing.

    Args:
        kinds: `tflite_float32`, `tflite_float16`, `tflite_dynamic` or `tflite_int8`; for the first and the last also the
            format with `_nms`, or that one alone.
        frozen: the folder that `freeze` wrote.
        records: the folder that `records` wrote; only INT8 reads it.
        folder: for the files, which are named after their formats.
        int8_pictures: the maximum number of training images for INT8 calibration.
        int8_input: the data type of the input of INT8 files, `float32` or `uint8`.

    Raises:
        BoxcarError: 65 if the records contain no training images, or damaged ones, or the SavedModel does not fit its
            `detector.json`.
    """
    import tensorflow as tf

    specification = read_specification(frozen)
    (weights,) = {kind.removesuffix("_nms") for kind in kinds}
    if weights == "tflite_int8":
        converter = int8_converter(frozen, records, int8_pictures)
        converter.inference_input_type = tf.dtypes.as_dtype(int8_input)
    else:
        converter = heads_converter(frozen)
        if weights != "tflite_float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if weights == "tflite_float16":
            converter.target_spec.supported_types = [tf.float16]
    content, provenance = converter.convert(), read_provenance(frozen)
    for kind in kinds:
        (folder / kind).write_bytes(complete(content, kind, specification, provenance))


def heads_converter(frozen: Path) -> Any:
    """A `tf.lite.TFLiteConverter` of the raw heads."""
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_saved_model(str(frozen / "saved_model"), signature_keys=["heads"])


def int8_converter(frozen: Path, records: Path, images: int) -> Any:
    """A converter to INT8, calibrated on at most `images` training images."""
    import tensorflow as tf

    specification = read_specification(frozen)
    converter = heads_converter(frozen)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        ("heads", {"image": pixels}) for pixels in calibration(records, specification, images)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter


def calibration(records: Path, specification: Specification, images: int) -> Iterator[npt.NDArray[np.float32]]:
    """At most `images` preprocessed training images, float32 [1, S, S, 3], for INT8 calibration.

    Raises:
        BoxcarError: 65 if there are none.
    """
    empty = True
    for _, image in sample_images(records, "train", images):
        pixels = preprocess(image, specification)
        # The converter accepts every range: from a wrong one it would make a wrong file without an error.
        check_value_range(pixels, specification)
        if empty:
            # Black and white, so that the input has the whole value range whatever the images contain: a byte is a pixel.
            pixels[0, 0], pixels[0, 1] = specification.value_range
            empty = False
        yield pixels[None]
    if empty:
        raise BoxcarError(
            ExitCode.DATA, f"{uri_of(records)} contains no training images to calibrate INT8 with.", "Add images to the data."
        )


def main() -> None:
    kinds, frozen, records, folder, int8_pictures, int8_input = sys.argv[1:]
    with plain_path(Path(frozen)) as readable:
        convert(kinds.split(","), readable, Path(records), Path(folder), int(int8_pictures), int8_input)


if __name__ == "__main__":
    run_as_child(main)
