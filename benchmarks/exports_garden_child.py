"""Exports a RetinaNet as Model Garden does, once for each version of its NMS, with weights that find something.

FOLDER gets `ckpt-1` and a SavedModel under the name of each version. A child of exports_saved_model.py.

Usage: exports_garden_child.py retinanet|mobilenet FOLDER RECORDS VERSION...
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import exp_factory
from official.vision import registry_imports  # noqa: F401
from official.vision.modeling import factory
from official.vision.ops import preprocess_ops
from official.vision.serving.export_saved_model_lib import export_inference_graph
from PIL import Image

from boxcar.export.sampling import sample_images

SLOTS = 91  # with the background
CANDIDATES = 1000  # scores above the threshold
SCORE_THRESHOLD, IOU_THRESHOLD = 0.05, 0.6
CLASS_BIAS = -4.6
BOX_DEVIATION = 0.2  # of box offsets, in anchors


def configure(network: str) -> tuple[Any, int]:
    """The experiment and the side of its input, in pixels."""
    experiment = exp_factory.get_exp_config({"retinanet": "retinanet_resnetfpn_coco", "mobilenet": "retinanet"}[network])
    model = experiment.task.model
    size = 640 if network == "retinanet" else 320
    model.override({"num_classes": SLOTS, "input_size": [size, size, 3]})
    if network == "mobilenet":
        # As its coco_mobilenetv2_tpu.yaml has it, with the zoo's anchors.
        model.backbone.override({"type": "mobilenet", "mobilenet": {"model_id": "MobileNetV2"}})
        model.decoder.fpn.override({"num_filters": 128, "use_separable_conv": True})
        model.head.override({"num_filters": 128, "use_separable_conv": True})
        model.anchor.override({"num_scales": 2, "aspect_ratios": [1.0, 2.0, 0.5], "anchor_size": 4.0})
    model.detection_generator.override({"pre_nms_score_threshold": SCORE_THRESHOLD, "nms_iou_threshold": IOU_THRESHOLD})
    # Pictures are resized to the square, as Boxcar does.
    experiment.task.train_data.parser.override({"keep_aspect_ratio": False, "pad": False})
    experiment.task.export_config.override({"output_normalized_coordinates": True})
    return experiment, size


def draw_weights(model: tf_keras.Model, picture: np.ndarray) -> None:
    """Gives the network weights of which `CANDIDATES` scores on this picture are above the threshold."""
    random = np.random.default_rng(0)
    for variable in model.variables:
        if "moving_variance" in variable.name or "gamma" in variable.name:
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    head = model.head
    for layer in (head._classifier, head._box_regressor):
        kernel = _kernel(layer)
        kernel.assign(random.normal(0, 0.02, kernel.shape))
        layer.bias.assign(tf.zeros_like(layer.bias))
    pixels = preprocess_ops.normalize_image(tf.cast(picture, tf.float32) / 255)[None]
    logits, offsets, _ = head(model.decoder(model.backbone(pixels)))
    values = np.concatenate([np.asarray(level).reshape(-1, SLOTS)[:, 1:].ravel() for level in logits.values()])
    lowest = np.partition(values, -CANDIDATES)[-CANDIDATES]
    _kernel(head._classifier).assign(_kernel(head._classifier) * ((_logit(SCORE_THRESHOLD) - CLASS_BIAS) / lowest))
    head._classifier.bias.assign(tf.fill(head._classifier.bias.shape, CLASS_BIAS))
    deviation = float(np.std(np.concatenate([np.asarray(level).ravel() for level in offsets.values()])))
    _kernel(head._box_regressor).assign(_kernel(head._box_regressor) * (BOX_DEVIATION / deviation))


def _kernel(layer: tf_keras.layers.Layer) -> tf.Variable:
    return layer.pointwise_kernel if hasattr(layer, "pointwise_kernel") else layer.kernel


def _logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


def main() -> None:
    network, folder, records, versions = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
    tf_keras.utils.set_random_seed(0)
    experiment, size = configure(network)
    model = factory.build_retinanet(tf_keras.layers.InputSpec(shape=[None, size, size, 3]), experiment.task.model)
    _, picture = next(sample_images(records, "test", 1))
    draw_weights(model, np.asarray(Image.fromarray(picture).resize((size, size))))
    prefix = tf.train.Checkpoint(model=model).write(str(folder / "ckpt-1"))
    for version in versions:
        experiment.task.model.detection_generator.nms_version = version
        export_inference_graph("image_tensor", 1, [size, size], experiment, prefix, str(folder / version))
        (folder / version / "size").write_text(str(size))


if __name__ == "__main__":
    main()
