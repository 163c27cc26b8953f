"""Appends TFLite_Detection_PostProcess to the box heads of a converted model, for hosts without a decoder.

The operator is defined in tensorflow/lite/kernels/detection_postprocess.cc. It is added to the finished file, not to the graph
that is converted. So the network is identical to that of the file with raw heads, the outputs are in our order, and INT8 ends
at the heads: boxes in eight bits would have steps of more than a pixel.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from flatbuffers import flexbuffers

from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.anchors import make_anchors
from boxcar.inference.specification import Specification, Thresholds
from boxcar.inference.tflite import DETECTIONS_THREADS

OPERATOR = "TFLite_Detection_PostProcess"
SIGNATURE = "detect"
# The order that stock Android apps and the task library expect, with the names of the zoo's SavedModels.
OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")

# Non-maximum suppression within each class, as in the SavedModel. The operator's default takes the best class of each anchor
# and suppresses over all classes, which loses objects that overlap.
USE_REGULAR_NMS = True

# With n threads, the operator's regular suppression skips class n, because the counter of its workers starts one too far.
# Measured in ai-edge-litert 2.3.0: with three classes and two threads, class 2 is lost. So the first classes are unused: their
# scores never reach the threshold, and hosts with fewer threads than unused classes lose nothing (measured up to 15 threads;
# with 16 or more, classes are lost again).
UNUSED_CLASSES = DETECTIONS_THREADS + 1


def add_postprocess(model: Any, specification: Specification, *, use_regular_nms: bool = USE_REGULAR_NMS) -> None:
    """Turns a model with the heads of `decoding.BOXES` into one that returns detections.

    Its signature is then `detect`: `detection_boxes` float32 [1, M, 4] (ymin, xmin, ymax, xmax, normalized, not clipped),
    `detection_classes` float32 [1, M] from 0 (the class with id 1: the background's slot is left out), `detection_scores`
    float32 [1, M], `num_detections` float32 [1], in this order; M is the specification's `max_detections`.

    Args:
        model: `schema_py_generated.ModelT` with the signature `heads`; changed in place.
        specification: of the detector.
        use_regular_nms: the operator's option of that name.

    Raises:
        BoxcarError: 65 if the model's heads are not those of the specification.
    """
    from ai_edge_litert import schema_py_generated as schema

    subgraph, signature = model.subgraphs[0], model.signatureDefs[0]
    heads = {entry.name.decode(): entry.tensorIndex for entry in signature.outputs}
    boxes, logits = heads["box_encodings"], heads["class_logits"]
    anchors = centered_anchors(specification)
    slots = [int(size) for size in subgraph.tensors[logits].shape]
    wanted = [1, len(anchors), specification.class_slots]
    if slots != wanted:
        raise BoxcarError(
            ExitCode.DATA,
            f"The SavedModel's class_logits are {slots}, but its detector.json says {wanted}.",
            "Run `boxcar freeze` again.",
        )

    def add_tensor(name: str, shape: list[int], content: npt.NDArray[Any] | None = None) -> int:
        tensor = schema.TensorT(shape=shape, type=schema.TensorType.FLOAT32, buffer=0, name=name, hasRank=True)
        if content is not None:  # buffer 0 is the empty one, for what is computed
            if content.dtype == np.int32:
                tensor.type = schema.TensorType.INT32
            model.buffers.append(schema.BufferT(data=np.frombuffer(content.tobytes(), np.uint8)))
            tensor.buffer = len(model.buffers) - 1
        subgraph.tensors.append(tensor)
        return len(subgraph.tensors) - 1

    def add_constant(name: str, content: npt.NDArray[Any]) -> int:
        return add_tensor(name, list(content.shape), content)

    def add_operator(number: int, inputs: list[int], outputs: list[int], **settings: Any) -> None:
        custom = OPERATOR if number == schema.BuiltinOperator.CUSTOM else None
        # Numbers up to 127 are read from the deprecated field.
        code = schema.OperatorCodeT(deprecatedBuiltinCode=number, builtinCode=number, customCode=custom, version=1)
        model.operatorCodes.append(code)
        index = len(model.operatorCodes) - 1
        subgraph.operators.append(schema.OperatorT(opcodeIndex=index, inputs=inputs, outputs=outputs, **settings))

    operators, options = schema.BuiltinOperator, schema.BuiltinOptions
    classes = specification.class_slots - 1
    seen = add_tensor("class_logits_without_background", [1, len(anchors), classes])
    begin = add_constant("first_class", np.asarray([0, 0, 1], np.int32))
    extent = add_constant("every_class", np.asarray([1, len(anchors), classes], np.int32))
    add_operator(
        operators.SLICE,
        [logits, begin, extent],
        [seen],
        builtinOptionsType=options.SliceOptions,
        builtinOptions=schema.SliceOptionsT(),
    )
    scores = add_tensor("class_scores", [1, len(anchors), classes])
    add_operator(operators.LOGISTIC, [seen], [scores])
    padded = add_tensor("class_scores_behind_unused", [1, len(anchors), UNUSED_CLASSES + classes])
    before = add_constant("unused_classes", np.asarray([[0, 0], [0, 0], [UNUSED_CLASSES, 0]], np.int32))
    never = add_constant("score_of_unused", np.asarray([-1.0], np.float32))
    add_operator(
        operators.PADV2,
        [scores, before, never],
        [padded],
        builtinOptionsType=options.PadV2Options,
        builtinOptions=schema.PadV2OptionsT(),
    )
    most = specification.thresholds.max_detections
    constants = add_constant("anchors", anchors)
    counted = add_tensor("classes_behind_unused", [1, most])
    # In this order: the metadata writer of tflite-support takes the lowest tensor for the boxes, and so on.
    shapes = ([1, most, 4], [1, most], [1, most], [1])
    outputs = [add_tensor(f"{OPERATOR}:{number}" if number else OPERATOR, shape) for number, shape in enumerate(shapes)]
    add_operator(
        operators.CUSTOM,
        [boxes, padded, constants],
        [outputs[0], counted, *outputs[2:]],
        customOptions=np.frombuffer(flexbuffers.Dumps(_options(specification, use_regular_nms)), np.uint8),
    )
    unused = add_constant("number_of_unused", np.asarray(UNUSED_CLASSES, np.float32))
    # Unused rows are zeros; apps that name the class of every row must not find a negative one.
    clipped = schema.SubOptionsT(fusedActivationFunction=schema.ActivationFunctionType.RELU)
    add_operator(operators.SUB, [counted, unused], [outputs[1]], builtinOptionsType=options.SubOptions, builtinOptions=clipped)
    subgraph.outputs = outputs
    signature.signatureKey = SIGNATURE
    signature.outputs = [schema.TensorMapT(name=name, tensorIndex=index) for name, index in zip(OUTPUTS, outputs, strict=True)]


def centered_anchors(specification: Specification) -> npt.NDArray[np.float32]:
    """The anchors [A, 4] as the operator reads them: (ycenter, xcenter, height, width), normalized."""
    corners = make_anchors(specification.image_size, specification.anchors).astype(np.float64)
    low, high = corners[:, :2], corners[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32)


def _options(specification: Specification, use_regular_nms: bool) -> dict[str, int | float | bool]:
    thresholds, coder = specification.thresholds, specification.box_coder
    return {
        "max_detections": thresholds.max_detections,
        "max_classes_per_detection": 1,
        # Not fewer than in total: with several threads the operator would write past the end of its buffer.
        "detections_per_class": thresholds.max_detections,
        "use_regular_nms": use_regular_nms,
        # With the zoo's 1e-8, every anchor of every class is a candidate: 0.5 s per image with 90 classes, 5 ms with 0.01.
        "nms_score_threshold": max(thresholds.score, Thresholds().score),
        "nms_iou_threshold": thresholds.iou,
        "num_classes": UNUSED_CLASSES + specification.class_slots - 1,
        "y_scale": coder.y_scale,
        "x_scale": coder.x_scale,
        "h_scale": coder.height_scale,
        "w_scale": coder.width_scale,
    }
