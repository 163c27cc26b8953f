"""TFLite metadata: the description inside a `.tflite` file for task libraries, code generators and viewers.

The enumerations and the order of each table's fields are those of the published schema, version 1.5.0:
tensorflow/tflite-support, tensorflow_lite_support/metadata/metadata_schema.fbs. What stock object detectors have in it, which
the task library reads: metadata/python/metadata_writers/object_detector.py and cc/task/vision/object_detector.cc there.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flatbuffers
import numpy as np

from boxcar.data.own_names import own_name
from boxcar.export.provenance import Provenance
from boxcar.inference.decoders import find_decoder
from boxcar.inference.embedded import LABELS, PROVENANCE, labels_text
from boxcar.inference.heads import CLASS_AXIS, Output
from boxcar.inference.preprocessing import normalization
from boxcar.inference.specification import Specification

NAME = "TFLITE_METADATA"  # of the entry in the model
CLASS_SLOTS = "class_slots.txt"  # the labels of raw class logits, the background's slot first

# What a line of the labels names, by whether class slots are dense.
_LINES = {False: "Line n, from 1, names the class with id n.", True: "Line n, from 1, names the class of slot n."}

_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.2.0"  # the first that knows groups of tensors; nothing younger is used
_DESCRIPTIONS, _AXIS_LABELS, _VALUE_LABELS = 1, 2, 3  # AssociatedFileType
_FEATURE, _IMAGE, _BOUNDING_BOX = 1, 2, 3  # ContentProperties
_NORMALIZATION = 1  # ProcessUnitOptions
_RGB = 1  # ColorSpaceType
_BOUNDARIES = 1  # BoundingBoxType; CoordinateType RATIO is 0, the default

# The dimension along which a tensor contains one element for each detection: a ValueRange, from and to.
_EACH = (np.uint32(2), np.uint32(2))


def describe(specification: Specification, provenance: Provenance, outputs: Sequence[str]) -> bytes:
    """The metadata of one file.

    Args:
        specification: of the detector.
        provenance: of the detector.
        outputs: the names of the outputs in its signature, in the file's order.

    Returns:
        A flatbuffer of the schema's root table, ModelMetadata.
    """
    write = _Writer()
    table, vector = write.table, write.place
    returns_boxes = "detection_boxes" in outputs
    tensors: dict[str, Callable[[], _Offset]] = {
        output.name: partial(_describe_head, write, output) for output in find_decoder(specification).outputs
    } | {
        # The task library finds the outputs by these four names.
        "detection_boxes": lambda: table(
            "location",
            "Boxes, best first: top, left, bottom and right, normalised by the picture's height and width.",
            None,
            # Left, top, right and bottom are the second, first, fourth and third of four numbers.
            table(_BOUNDING_BOX, (np.asarray([1, 0, 3, 2], np.uint32), _BOUNDARIES), _EACH),
        ),
        "detection_classes": lambda: table(
            "category",
            "For each box, its line in labels.txt, from 0.",
            None,
            table(_FEATURE, (), _EACH),
            None,
            None,
            [table(LABELS, "Line n, from 0, names class n.", _VALUE_LABELS)],
        ),
        "detection_scores": lambda: table("score", "For each box, from 0 to 1.", None, table(_FEATURE, (), _EACH)),
        "num_detections": lambda: table("number of detections", "How many of the boxes count.", None, (_FEATURE, ())),
    }
    inputs = vector([_describe_image(write, specification)])
    described = vector([tensors[name]() for name in outputs])
    # Makes one list of detections out of three outputs.
    groups = vector([table("detection_result", vector(["location", "category", "score"]))]) if returns_boxes else None
    subgraph = table(None, None, inputs, described, None, None, None, None, groups)
    files = [table(PROVENANCE, "What this model was made from, and by what.", _DESCRIPTIONS)]
    if not returns_boxes:
        files.append(table(LABELS, _LINES[specification.dense_slots], _DESCRIPTIONS))
    size = specification.image_size
    return write.finish(
        table(
            f"{specification.architecture}, {size} x {size}",
            f"Finds objects in pictures: {', '.join(specification.labels.values())}.",
            provenance.checkpoint_sha256[:12],
            [subgraph],
            f"Boxcar {provenance.code_version}",
            None,
            files,
            _PARSER_VERSION,
        )
    )


def _describe_head(write: "_Writer", output: Output) -> "_Offset":
    """The TensorMetadata of one of the heads."""
    table = write.table
    files = [table(CLASS_SLOTS, "Line n, from 0, names class slot n.", _AXIS_LABELS)] if CLASS_AXIS in output.axes else None
    return table(output.name, output.description, ["batch", *output.axes], (_FEATURE, ()), None, None, files)


def _describe_image(write: "_Writer", specification: Specification) -> "_Offset":
    """The TensorMetadata of the input."""
    table, (low, high) = write.table, specification.value_range
    image = table(_RGB, (np.uint32(specification.image_size), np.uint32(specification.image_size)))
    mean, deviation = (np.asarray([value], np.float32) for value in normalization(specification))
    options = table(mean, deviation)
    return table(
        "image",
        f"A picture in RGB, resized without keeping its aspect, from 0 to 255 normalised to [{low:g}, {high:g}].",
        None,
        table(_IMAGE, image),
        [table(_NORMALIZATION, options)],
        table(np.asarray([high], np.float32), np.asarray([low], np.float32)),
    )


def associated_files(specification: Specification, provenance: Provenance, outputs: Sequence[str]) -> dict[str, str]:
    """The texts of the files that `describe` names."""
    text = labels_text(specification.labels, dense=specification.dense_slots)
    files = {LABELS: text, PROVENANCE: provenance.text()}
    if "detection_boxes" in outputs:
        return files
    return files | {CLASS_SLOTS: f"{own_name('background', text.splitlines())}\n{text}"}


class _Offset(int):
    """Where something is in the flatbuffer."""


class _Writer:
    """Writes the schema's tables into a flatbuffer."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(4096)

    def table(self, *values: Any) -> _Offset:
        """Writes a table from the values of its fields, in the schema's order; None for fields that are not set.

        `uint32` and int, which is the value of an enumeration, are written in the table; `place` writes all others before it.
        """
        placed = [self.place(value) for value in values]
        self._builder.StartObject(len(values))
        for slot, value in enumerate(placed):
            if isinstance(value, _Offset):
                self._builder.PrependUOffsetTRelativeSlot(slot, value, 0)
            elif isinstance(value, np.uint32):
                self._builder.PrependUint32Slot(slot, value, 0)
            elif value is not None:
                self._builder.PrependInt8Slot(slot, value, 0)
        return _Offset(self._builder.EndObject())

    def place(self, value: Any) -> Any:
        """Writes a string, a NumPy vector, a list as a vector of offsets, or a tuple as a table; returns other values."""
        match value:
            case str():
                return _Offset(self._builder.CreateString(value))
            case np.ndarray():
                return _Offset(self._builder.CreateNumpyVector(value))
            case tuple():
                return self.table(*value)
            case list():
                offsets = [self.place(item) for item in value]
                self._builder.StartVector(4, len(offsets), 4)
                for offset in reversed(offsets):
                    self._builder.PrependUOffsetTRelative(offset)
                return _Offset(self._builder.EndVector())
        return value

    def finish(self, root: _Offset) -> bytes:
        self._builder.Finish(root, _IDENTIFIER)
        return bytes(self._builder.Output())
