"""Puts TFLite_Detection_PostProcess behind the heads of a converted model, for hosts that have no decoder of their own.

What the operator reads and does: tensorflow/lite/kernels/detection_postprocess.cc. It is put into the finished file, not into
the graph that is converted, so that the network is to the last bit that of the file with raw heads, the order of the outputs
is ours, and INT8 ends where the heads do: boxes in eight bits would be steps of more than a pixel.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from flatbuffers import flexbuffers

from boxcar.detectors.anchors import make_anchors
from boxcar.detectors.specification import Specification
from boxcar.errors import BoxcarError, ExitCode

OPERATOR = "TFLite_Detection_PostProcess"
SIGNATURE = "detect"
# The order that stock Android apps and the task library count on, under the names that the zoo's SavedModels have.
OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")

# Non-maximum suppression within each class, as the SavedModel does it. The operator's default takes the best class of each
# anchor and suppresses over all classes, which loses objects that overlap, and is no faster where few anchors see anything.
USE_REGULAR_NMS = True


def add_postprocess(model: Any, specification: Specification, *, use_regular_nms: bool = USE_REGULAR_NMS) -> None:
    """Turns a model with raw heads into one that answers with detections.

    Its signature is then `detect`: `detection_boxes` float32 [1, M, 4] (ymin, xmin, ymax, xmax, normalised, not clipped),
    `detection_classes` float32 [1, M] from 0 (the class with id 1: the background's slot is left out), `detection_scores`
    float32 [1, M], `num_detections` float32 [1], in this order; M is the specification's `max_detections`.

    Args:
        model: `schema_py_generated.ModelT` with the signature `heads`; changed in place.
        specification: of the detector.
        use_regular_nms: the operator's option of that name.

    Raises:
        BoxcarError: 65 where the model's heads are not those of the specification.
    """
    from ai_edge_litert import schema_py_generated as schema

    subgraph, signature = model.subgraphs[0], model.signatureDefs[0]
    heads = {entry.name.decode(): entry.tensorIndex for entry in signature.outputs}
    boxes, logits = heads["box_encodings"], heads["class_logits"]
    anchors = centred_anchors(specification)
    slots = [int(size) for size in subgraph.tensors[logits].shape]
    wanted = [1, len(anchors), specification.class_slots]
    if slots != wanted:
        raise BoxcarError(
            ExitCode.DATA,
            f"The SavedModel's class_logits are {slots}, and by its detector.json {wanted}.",
            "Run `boxcar freeze` again.",
        )

    def add_tensor(name: str, shape: list[int], content: npt.NDArray[np.float32] | None = None) -> int:
        # Buffer 0 is the empty one, for what is computed.
        tensor = schema.TensorT(shape=shape, type=schema.TensorType.FLOAT32, buffer=0, name=name, hasRank=True)
        if content is not None:
            model.buffers.append(schema.BufferT(data=np.frombuffer(content.astype("<f4").tobytes(), np.uint8)))
            tensor.buffer = len(model.buffers) - 1
        subgraph.tensors.append(tensor)
        return len(subgraph.tensors) - 1

    def add_operator(code: Any, inputs: list[int], outputs: list[int], options: bytes | None = None) -> None:
        model.operatorCodes.append(code)
        operator = schema.OperatorT(opcodeIndex=len(model.operatorCodes) - 1, inputs=inputs, outputs=outputs)
        if options is not None:
            operator.customOptions = np.frombuffer(options, np.uint8)
        subgraph.operators.append(operator)

    def code(number: int, name: str | None = None) -> Any:
        return schema.OperatorCodeT(deprecatedBuiltinCode=number, builtinCode=number, customCode=name, version=1)

    scores = add_tensor("class_scores", slots)
    add_operator(code(schema.BuiltinOperator.LOGISTIC), [logits], [scores])
    most = specification.thresholds.max_detections
    shapes = ([1, most, 4], [1, most], [1, most], [1])
    constants = add_tensor("anchors", list(anchors.shape), anchors)
    # One after the other: the metadata writer of tflite-support takes the lowest tensor for the boxes, and so on.
    outputs = [add_tensor(f"{OPERATOR}:{number}" if number else OPERATOR, shape) for number, shape in enumerate(shapes)]
    add_operator(
        code(schema.BuiltinOperator.CUSTOM, OPERATOR),
        [boxes, scores, constants],
        outputs,
        bytes(flexbuffers.Dumps(_options(specification, use_regular_nms))),
    )
    subgraph.outputs = outputs
    signature.signatureKey = SIGNATURE
    signature.outputs = [schema.TensorMapT(name=name, tensorIndex=index) for name, index in zip(OUTPUTS, outputs, strict=True)]


def centred_anchors(specification: Specification) -> npt.NDArray[np.float32]:
    """The anchors [A, 4] as the operator reads them: (ycentre, xcentre, height, width), normalised."""
    corners = make_anchors(specification.image_size, specification.anchors).astype(np.float64)
    low, high = corners[:, :2], corners[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32)


def _options(specification: Specification, use_regular_nms: bool) -> dict[str, int | float | bool]:
    thresholds, coder = specification.thresholds, specification.box_coder
    return {
        "max_detections": thresholds.max_detections,
        "max_classes_per_detection": 1,
        "detections_per_class": thresholds.max_detections_per_class,
        "use_regular_nms": use_regular_nms,
        "nms_score_threshold": thresholds.score,
        "nms_iou_threshold": thresholds.iou,
        # One fewer than the slots, which tells the operator that the first of them is background.
        "num_classes": specification.class_slots - 1,
        "y_scale": coder.y_scale,
        "x_scale": coder.x_scale,
        "h_scale": coder.height_scale,
        "w_scale": coder.width_scale,
    }
