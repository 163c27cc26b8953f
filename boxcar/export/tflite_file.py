"""Completes a file of the TFLite converter: adds the metadata and, for `_nms` formats, TFLite_Detection_PostProcess."""

import io
import zipfile

import numpy as np

from boxcar.export.provenance import Provenance
from boxcar.export.tflite_metadata import NAME, associated_files, describe
from boxcar.export.tflite_postprocess import OUTPUTS, add_postprocess
from boxcar.inference.specification import Specification

_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the format's first: the same model gives the same file


def complete(content: bytes, kind: str, specification: Specification, provenance: Provenance) -> bytes:
    """The complete file.

    Args:
        content: a TFLite file with the signature `heads`.
        kind: the format's name; one that ends in `_nms` returns detections instead of raw heads.
        specification: of the detector.
        provenance: of the detector.

    Raises:
        BoxcarError: 65 if the model's heads are not those of the specification.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    if kind.endswith("_nms"):
        add_postprocess(model, specification)
        outputs = list(OUTPUTS)
    else:
        names = {entry.tensorIndex: entry.name.decode() for entry in model.signatureDefs[0].outputs}
        outputs = [names[index] for index in model.subgraphs[0].outputs]
    described = describe(specification, provenance, outputs)
    model.buffers.append(schema.BufferT(data=np.frombuffer(described, np.uint8)))
    model.metadata = [*(model.metadata or []), schema.MetadataT(name=NAME, buffer=len(model.buffers) - 1)]
    packed = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    stream = io.BytesIO(packed)
    # Uncompressed, because readers on phones map the bytes directly.
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, text in associated_files(specification, provenance, outputs).items():
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text)
    return stream.getvalue()
