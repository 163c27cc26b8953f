"""Completes what the TFLite converter wrote: detections instead of raw heads for the `_nms` formats, and the metadata."""

import io
import zipfile
from collections.abc import Mapping

import numpy as np

from boxcar.export.provenance import Provenance
from boxcar.export.tflite_metadata import NAME, associated_files, describe
from boxcar.export.tflite_postprocess import add_postprocess
from boxcar.inference.embedded import labels_text
from boxcar.inference.specification import Specification

_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the format's first: the same model gives the same file


def complete(content: bytes, kind: str, specification: Specification, provenance: Provenance) -> bytes:
    """The complete file.

    Args:
        content: a TFLite file with the signature `heads`.
        kind: the format's name; `_nms` at its end asks for TFLite_Detection_PostProcess.
        specification: of the detector.
        provenance: of the detector.

    Raises:
        BoxcarError: 65 where the model's heads are not those of the specification.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    if kind.endswith("_nms"):
        add_postprocess(model, specification)
    names = {entry.tensorIndex: _text(entry.name) for entry in model.signatureDefs[0].outputs}
    outputs = [names[index] for index in model.subgraphs[0].outputs]
    described = describe(specification, provenance, outputs)
    model.buffers.append(schema.BufferT(data=np.frombuffer(described, np.uint8)))
    model.metadata = [*(model.metadata or []), schema.MetadataT(name=NAME, buffer=len(model.buffers) - 1)]
    packed = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return append_files(packed, associated_files(labels_text(specification.labels), provenance, outputs))


def append_files(model: bytes, files: Mapping[str, str]) -> bytes:
    """A model with a zip archive appended; uncompressed, because readers on phones map the bytes directly."""
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text)
    return stream.getvalue()


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
