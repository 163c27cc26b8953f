"""SSD MobileNet V2 FPNLite, rebuilt on Model Garden's MobileNetV2 so that checkpoints of the TF2 Detection Zoo load by name.

Topology after the Object Detection API (models/ssd_mobilenet_v2_fpn_keras_feature_extractor.py,
models/feature_map_generators.py: KerasFpnTopDownFeatureMaps, predictors/convolutional_keras_box_predictor.py:
WeightSharedConvolutionalBoxPredictor with a shared prediction tower):
- C3, C4 and the 1280-channel C5 of MobileNetV2; each gets a plain 1x1 convolution with bias to 128 channels;
- top down, each level adds the *smoothed* coarser one; P3 and P4 are smoothed by a separable 3x3, P5 is not;
- P6 and P7 by separable 3x3 convolutions with stride 2;
- one tower of four separable convolutions, shared by all levels and both heads, with batch norms of each level's own.
"""

import math
from typing import TYPE_CHECKING

from boxcar.detectors.architecture import Architecture
from boxcar.detectors.network import Network
from boxcar.inference.specification import Anchors, BoxCoder, Specification

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

    from boxcar.detectors.model_garden import MobileNet

CHANNELS = 128
TOWER_DEPTH = 4
EPSILON = 0.001
_BLOCK_LAYERS = (
    "_conv0",
    "_norm0",
    "_conv1",
    "_norm1",
    "_conv2",
    "_norm2",
)  # of a block of Model Garden's, in the order of use
CLASS_PRIOR = 0.01  # Lin et al. 2017, section 4.1; the zoo's class bias of -4.6


def build(specification: Specification, batch_norm_momentum: float, synchronized: bool) -> Network:
    """Builds the network with random weights.

    Args:
        specification: image size (a multiple of 32), anchors and number of class slots.
        batch_norm_momentum: share of the moving statistics that one step keeps; 0.997 in the zoo, lower for short runs.
        synchronized: whether batch norms compute their statistics over all replicas.

    Returns:
        The network; its checkpoint tree has the zoo's names.
    """
    import tf_keras

    from boxcar.detectors.model_garden import MobileNet
    from boxcar.detectors.upsampling import NearestUpSampling

    size = specification.image_size
    levels = specification.anchors.max_level - specification.anchors.min_level + 1
    per_cell = specification.anchors.per_cell
    backbone = MobileNet(
        "MobileNetV2",
        input_specs=tf_keras.layers.InputSpec(shape=[None, size, size, 3]),
        norm_momentum=batch_norm_momentum,
        norm_epsilon=EPSILON,
        use_sync_bn=synchronized,
    )

    def batch_norm(name: str) -> "tf_keras.layers.Layer":
        return tf_keras.layers.BatchNormalization(
            momentum=batch_norm_momentum, epsilon=EPSILON, synchronized=synchronized, name=name
        )

    def relu6(x: "tf.Tensor", name: str) -> "tf.Tensor":
        return tf_keras.layers.ReLU(6.0, name=name)(x)

    def separable(filters: int, name: str, **settings: object) -> "tf_keras.layers.Layer":
        settings.setdefault("pointwise_initializer", "VarianceScaling")
        return tf_keras.layers.SeparableConv2D(
            filters, 3, padding="same", depthwise_initializer=_depthwise(), name=name, **settings
        )

    def lateral(name: str) -> "tf_keras.layers.Layer":
        return tf_keras.layers.Conv2D(CHANNELS, 1, name=name)

    # The pyramid. Level 6 of Model Garden's numbering is the 1280-channel output, which still has stride 32.
    inputs = tf_keras.Input([size, size, 3], name="image")
    features = backbone(inputs)
    laterals = [lateral(f"lateral_{level}") for level in (5, 4, 3)]
    smoothing = [
        (separable(CHANNELS, f"smooth_{level}", use_bias=False), batch_norm(f"smooth_{level}_norm")) for level in (4, 3)
    ]
    coarse = [
        (separable(CHANNELS, f"coarse_{level}", strides=2, use_bias=False), batch_norm(f"coarse_{level}_norm"))
        for level in (6, 7)
    ]
    pyramid = [laterals[0](features["6"])]
    for level, project, (convolve, norm) in zip((4, 3), laterals[1:], smoothing, strict=True):
        coarser = NearestUpSampling(f"upsample_{level}")(pyramid[0])
        merged = tf_keras.layers.Add(name=f"merge_{level}")([coarser, project(features[str(level)])])
        pyramid.insert(0, relu6(norm(convolve(merged)), f"smooth_{level}_relu6"))
    for level, (convolve, norm) in zip((6, 7), coarse, strict=True):
        pyramid.append(relu6(norm(convolve(pyramid[-1])), f"coarse_{level}_relu6"))

    # The heads.
    tower = [separable(CHANNELS, f"tower_{depth}", use_bias=False) for depth in range(TOWER_DEPTH)]
    norms = [[batch_norm(f"tower_{depth}_norm_{level}") for depth in range(TOWER_DEPTH)] for level in range(levels)]
    box_head = separable(per_cell * 4, "box_head", pointwise_initializer=_predictor())
    prior = tf_keras.initializers.Constant(-math.log((1 - CLASS_PRIOR) / CLASS_PRIOR))
    class_head = separable(
        per_cell * specification.class_slots, "class_head", pointwise_initializer=_predictor(), bias_initializer=prior
    )
    boxes, classes = [], []
    for level, x in enumerate(pyramid):
        for depth in range(TOWER_DEPTH):
            x = relu6(norms[level][depth](tower[depth](x)), f"tower_{depth}_relu6_{level}")
        boxes.append(tf_keras.layers.Reshape([-1, 4], name=f"boxes_{level}")(box_head(x)))
        classes.append(tf_keras.layers.Reshape([-1, specification.class_slots], name=f"classes_{level}")(class_head(x)))
    # float32 whatever the precision in between.
    outputs = {
        "box_encodings": tf_keras.layers.Concatenate(axis=1, dtype="float32", name="box_encodings")(boxes),
        "class_logits": tf_keras.layers.Concatenate(axis=1, dtype="float32", name="class_logits")(classes),
    }
    model = tf_keras.Model(inputs, outputs, name="ssd_mobilenet_v2_fpnlite")

    tree = {
        "_feature_extractor": {
            "classification_backbone": {
                f"layer_with_weights-{index}": layer for index, layer in enumerate(_backbone_layers(backbone))
            },
            "_fpn_features_generator": {
                "top_layers": laterals[:1],
                "residual_blocks": [[layer] for layer in laterals[1:]],
                "conv_layers": [list(pair) for pair in smoothing],
            },
            "_coarse_feature_layers": [list(pair) for pair in coarse],
        },
        "_box_predictor": {
            "_head_scope_conv_layers": {"PredictionTower": tower},
            "_base_tower_layers_for_heads": {
                # Convolution, batch norm, activation: the norms are at 1, 4, 7 and 10.
                "box_encodings": [{str(3 * depth + 1): norm for depth, norm in enumerate(level)} for level in norms]
            },
            "_box_prediction_head": {"_box_encoder_layers": [box_head]},
            "_prediction_heads": {"class_predictions_with_background": {"_class_predictor_layers": [class_head]}},
        },
    }
    if not synchronized:
        _lighten(backbone)
    # The API regularizes the convolutions it builds and the depthwise half of the separable ones, the heads' excepted.
    regularized = [variable for variable in backbone.trainable_variables if "kernel" in variable.name]
    regularized += [layer.kernel for layer in laterals]
    regularized += [layer.depthwise_kernel for layer in [*(pair[0] for pair in smoothing + coarse), *tower]]
    return Network(
        specification=specification,
        model=model,
        tree=tree,
        class_predictor=(class_head,),
        class_rows=(class_head.pointwise_kernel, class_head.bias),
        backbone=(backbone,),
        regularized=tuple(regularized),
    )


def _depthwise() -> "tf_keras.initializers.Initializer":
    import tf_keras

    # Keeps the variance of what passes through. The zoo's 0.03 shrinks it below the batch norms' epsilon, and a network that
    # starts from random weights then does not learn; its own weights were trained for 50,000 steps from a classifier's.
    return tf_keras.initializers.TruncatedNormal(stddev=1 / 3)


def _predictor() -> "tf_keras.initializers.Initializer":
    import tf_keras

    return tf_keras.initializers.TruncatedNormal(stddev=0.01)


def _backbone_layers(backbone: "MobileNet") -> "list[tf_keras.layers.Layer]":
    """Convolution, norm, convolution, norm ...: the 104 layers in the order in which they are applied."""
    found = []
    for block in backbone.layers:
        for name in _BLOCK_LAYERS:
            layer = getattr(block, name, None)
            if layer is not None and layer.weights:
                found.append(layer)
    return found


def _lighten(backbone: "MobileNet") -> None:
    """Lets the blocks of the large maps train with less: see `expansion`. The weights stay those of the same layers."""
    import tensorflow as tf
    import tf_keras

    from boxcar.detectors.expansion import MOST_CHANNELS, Expansion

    # What it saves was measured on the CPU in float32; a GPU's batch norms are another matter.
    if tf_keras.mixed_precision.global_policy().name != "float32" or tf.config.get_visible_devices("GPU"):
        return
    for block in backbone.layers:
        kernel = getattr(getattr(block, "_conv0", None), "kernel", None)
        if kernel is not None and kernel.shape[:2] == (1, 1) and kernel.shape[2] <= MOST_CHANNELS:
            layers = {name: getattr(block, name) for name in _BLOCK_LAYERS}
            layers["_norm0"] = Expansion(block._conv0, block._norm0)
            layers["_conv0"] = tf_keras.layers.Layer()  # answers what it is given
            # All of them again, in order: Keras lists their weights in this order, and an optimizer its slots.
            for name in layers:
                delattr(block, name)
            for name, layer in layers.items():
                setattr(block, name, layer)


def _row(image_size: int, multiply_adds: int, average_precision: float) -> Architecture:
    name = f"ssd_mobilenet_v2_fpnlite_{image_size}x{image_size}"
    # models/research/object_detection/g3doc/tf2_detection_zoo.md in the TensorFlow Model Garden's repository.
    zoo = "https://download.tensorflow.org/models/object_detection/tf2/20200711"
    return Architecture(
        name=name,
        build=build,
        image_size=image_size,
        size_multiple=32,
        anchors=Anchors(),
        box_coder=BoxCoder(),
        class_predictor_bias=(
            "model/_box_predictor/_prediction_heads/class_predictions_with_background/_class_predictor_layers/0/bias"
        ),
        parameters=2_667_002,
        multiply_adds=multiply_adds,
        average_precision=average_precision,
        source=f"TF2 Detection Zoo, {name}_coco17_tpu-8",
        zoo=f"{zoo}/{name}_coco17_tpu-8.tar.gz",
        zoo_loads="all; tested with a checkpoint of the same format",
        api_feature_extractor="ssd_mobilenet_v2_fpn_keras",
    )


ARCHITECTURES = (_row(320, 985_034_496, 22.2), _row(640, 3_938_345_600, 28.2))
