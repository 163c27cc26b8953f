"""TFLite metadata: the description inside a `.tflite` file for task libraries, code generators and viewers.

The numbers are the places of fields and the values of enumerations in the published schema, version 1.5.0:
tensorflow/tflite-support, tensorflow_lite_support/metadata/metadata_schema.fbs. What stock object detectors have in it, which
the task library goes by: metadata/python/metadata_writers/object_detector.py and cc/task/vision/object_detector.cc there.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import flatbuffers
import numpy as np

from boxcar.export.provenance import Provenance
from boxcar.inference.decoders import find_decoder
from boxcar.inference.embedded import LABELS, PROVENANCE, labels_text
from boxcar.inference.heads import CLASS_AXIS, Output
from boxcar.inference.preprocessing import normalization
from boxcar.inference.specification import Specification

NAME = "TFLITE_METADATA"  # of the entry in the model
CLASS_SLOTS = "class_slots.txt"  # the labels of raw class logits, the background's slot first

_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.2.0"  # the first that knows groups of tensors; nothing younger is used
_DESCRIPTIONS, _AXIS_LABELS, _VALUE_LABELS = 1, 2, 3  # AssociatedFileType
_FEATURE, _IMAGE, _BOUNDING_BOX = 1, 2, 3  # ContentProperties
_NORMALIZATION = 1  # ProcessUnitOptions
_RGB = 1  # ColorSpaceType
_BOUNDARIES = 1  # BoundingBoxType; CoordinateType RATIO is 0, the default

_Field = Callable[[flatbuffers.Builder], None]


def describe(specification: Specification, provenance: Provenance, outputs: Sequence[str]) -> bytes:
    """The metadata of one file.

    Args:
        specification: of the detector.
        provenance: of the detector.
        outputs: the names of the outputs in its signature, in the file's order.

    Returns:
        A flatbuffer of the schema's root table, ModelMetadata.
    """
    builder = flatbuffers.Builder(4096)
    write = _Writer(builder)
    answers_boxes = "detection_boxes" in outputs
    described = {output.name: partial(write.raw, output) for output in find_decoder(specification).outputs} | {
        # The task library finds the outputs by these four names.
        "detection_boxes": lambda: write.tensor(
            "location",
            "Boxes, best first: top, left, bottom and right, normalised by the picture's height and width.",
            content=write.content(_BOUNDING_BOX, write.bounding_box(), each=2),
        ),
        "detection_classes": lambda: write.tensor(
            "category",
            "For each box, its line in labels.txt, from 0.",
            content=write.content(_FEATURE, write.table(), each=2),
            files=[write.file(LABELS, "Line n, from 0, names class n.", _VALUE_LABELS)],
        ),
        "detection_scores": lambda: write.tensor(
            "score", "For each box, from 0 to 1.", content=write.content(_FEATURE, write.table(), each=2)
        ),
        "num_detections": lambda: write.tensor("number of detections", "How many of the boxes count."),
    }
    subgraph = write.table(
        write.reference(2, write.references([write.image(specification)])),
        write.reference(3, write.references([described[name]() for name in outputs])),
        *([write.reference(8, write.references([write.group()]))] if answers_boxes else []),
    )
    files = [write.file(PROVENANCE, "What this model was made from, and by what.", _DESCRIPTIONS)]
    if not answers_boxes:
        files.append(write.file(LABELS, "Line n, from 1, names the class with id n.", _DESCRIPTIONS))
    names = ", ".join(specification.labels.values())
    size = specification.image_size
    model = write.table(
        write.reference(0, builder.CreateString(f"{specification.architecture}, {size} x {size}")),
        write.reference(1, builder.CreateString(f"Finds objects in pictures: {names}.")),
        write.reference(2, builder.CreateString(provenance.checkpoint_sha256[:12])),
        write.reference(3, write.references([subgraph])),
        write.reference(4, builder.CreateString(f"Boxcar {provenance.code_version}")),
        write.reference(6, write.references(files)),
        write.reference(7, builder.CreateString(_PARSER_VERSION)),
    )
    builder.Finish(model, _IDENTIFIER)
    return bytes(builder.Output())


def associated_files(labels: Mapping[int, str], provenance: Provenance, outputs: Sequence[str]) -> dict[str, str]:
    """The texts of the files that `describe` names."""
    text = labels_text(labels)
    files = {LABELS: text, PROVENANCE: provenance.text()}
    return files if "detection_boxes" in outputs else files | {CLASS_SLOTS: f"background\n{text}"}


class _Writer:
    """Writes the schema's tables into a flatbuffer; each method returns a table's offset in it."""

    def __init__(self, builder: flatbuffers.Builder) -> None:
        self._builder = builder

    def table(self, *fields: _Field) -> int:
        """Any table; each field knows its place."""
        self._builder.StartObject(10)  # as many as the longest has, SubGraphMetadata; unset ones take no room
        for field in fields:
            field(self._builder)
        return int(self._builder.EndObject())

    def reference(self, place: int, offset: int) -> _Field:
        return lambda builder: builder.PrependUOffsetTRelativeSlot(place, offset, 0)

    def byte(self, place: int, value: int) -> _Field:
        return lambda builder: builder.PrependInt8Slot(place, value, 0)

    def number(self, place: int, value: int) -> _Field:
        return lambda builder: builder.PrependUint32Slot(place, value, 0)

    def references(self, offsets: Sequence[int]) -> int:
        """A vector of tables or strings."""
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())

    def strings(self, texts: Sequence[str]) -> int:
        return self.references([self._builder.CreateString(text) for text in texts])

    def floats(self, *values: float) -> int:
        return int(self._builder.CreateNumpyVector(np.asarray(values, np.float32)))

    def file(self, name: str, description: str, kind: int) -> int:
        """An AssociatedFile."""
        create = self._builder.CreateString
        return self.table(self.reference(0, create(name)), self.reference(1, create(description)), self.byte(2, kind))

    def content(self, kind: int, properties: int, each: int | None = None) -> int:
        """A Content; `each` is the dimension along which the tensor holds many of them."""
        fields = [self.byte(0, kind), self.reference(1, properties)]
        if each is not None:
            fields.append(self.reference(2, self.table(self.number(0, each), self.number(1, each))))
        return self.table(*fields)

    def bounding_box(self) -> int:
        """BoundingBoxProperties: left, top, right and bottom are the second, first, fourth and third of four numbers."""
        order = int(self._builder.CreateNumpyVector(np.asarray([1, 0, 3, 2], np.uint32)))
        return self.table(self.reference(0, order), self.byte(1, _BOUNDARIES))

    def tensor(
        self,
        name: str,
        description: str,
        *,
        content: int | None = None,
        dimensions: Sequence[str] = (),
        units: Sequence[int] = (),
        stats: int | None = None,
        files: Sequence[int] = (),
    ) -> int:
        """A TensorMetadata."""
        create = self._builder.CreateString
        fields = [self.reference(0, create(name)), self.reference(1, create(description))]
        if dimensions:
            fields.append(self.reference(2, self.strings(dimensions)))
        fields.append(self.reference(3, self.content(_FEATURE, self.table()) if content is None else content))
        if units:
            fields.append(self.reference(4, self.references(units)))
        if stats is not None:
            fields.append(self.reference(5, stats))
        if files:
            fields.append(self.reference(6, self.references(files)))
        return self.table(*fields)

    def raw(self, output: Output) -> int:
        """The TensorMetadata of one of the heads."""
        files = (
            [self.file(CLASS_SLOTS, "Line n, from 0, names class slot n.", _AXIS_LABELS)] if CLASS_AXIS in output.axes else []
        )
        return self.tensor(output.name, output.description, dimensions=("batch", *output.axes), files=files)

    def image(self, specification: Specification) -> int:
        """The TensorMetadata of the input."""
        size, (low, high) = specification.image_size, specification.value_range
        mean, deviation = normalization(specification)
        dimensions = self.table(self.number(0, size), self.number(1, size))
        image = self.table(self.byte(0, _RGB), self.reference(1, dimensions))
        options = self.table(self.reference(0, self.floats(mean)), self.reference(1, self.floats(deviation)))
        return self.tensor(
            "image",
            f"A picture in RGB, resized without keeping its aspect, from 0 to 255 normalised to [{low:g}, {high:g}].",
            content=self.content(_IMAGE, image),
            units=[self.table(self.byte(0, _NORMALIZATION), self.reference(1, options))],
            stats=self.table(self.reference(0, self.floats(high)), self.reference(1, self.floats(low))),
        )

    def group(self) -> int:
        """The TensorGroup that makes one list of detections out of three outputs."""
        names = self.strings(("location", "category", "score"))
        return self.table(self.reference(0, self._builder.CreateString("detection_result")), self.reference(1, names))
