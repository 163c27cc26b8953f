"""RetinaNet on ResNet-50 FPN, built from Model Garden's own parts so that its checkpoints load by name.

Lin et al. 2017, as the experiment `retinanet_resnetfpn_coco` sets it (official/vision/configs/retinanet.py): levels 3 to 7, 256
channels, two towers of four convolutions with batch norms of each level's own, three scales and three ratios a cell. The
parts are adapted to the interface of Boxcar's networks:
- pixels in [-1, 1] are brought to the mean and spread of ImageNet's, which Model Garden's parser does before the network;
- its outputs go by scale, then ratio; they are reordered to the order of `anchors.make_anchors`;
- its box offsets are not scaled. Ours are those times ten, which makes the smooth L1 loss twice the one it is trained with
  (50 times Huber's with a delta of 0.1), so that one loss serves every architecture.
The AP published for it was measured on images that keep their aspect and are padded; ours are resized to the square.
At sizes that are no multiple of 128 the anchors of levels 6 and 7 are `make_anchors`' own, up to half a cell off Model
Garden's, which spreads a level's cells evenly over the image.
"""

from typing import TYPE_CHECKING, Any

from boxcar.detectors.architecture import Architecture
from boxcar.detectors.network import Network
from boxcar.inference.specification import Anchors, BoxCoder, Specification

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

CHANNELS = 256
TOWER_DEPTH = 4
EPSILON = 0.001
BOX_SCALE = 10.0
# Of pixels from 0 to 1 (official/vision/ops/preprocess_ops.py).
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def build(specification: Specification, batch_norm_momentum: float, synchronized: bool) -> Network:
    """Builds the network with random weights.

    Args:
        specification: image size (a multiple of 32), anchors and number of class slots.
        batch_norm_momentum: share of the moving statistics that one step keeps; 0.99 in Model Garden.
        synchronized: whether batch norms compute their statistics over all replicas.

    Returns:
        The network; its checkpoint tree has the names of Model Garden's `RetinaNetModel`.
    """
    import tf_keras

    from boxcar.detectors.model_garden import FPN, ResNet, RetinaNetHead

    size, anchors = specification.image_size, specification.anchors
    ratios, scales = len(anchors.aspect_ratios), anchors.scales_per_octave
    levels = range(anchors.min_level, anchors.max_level + 1)
    norms = {"use_sync_bn": synchronized, "norm_momentum": batch_norm_momentum, "norm_epsilon": EPSILON}
    backbone = ResNet(50, input_specs=tf_keras.layers.InputSpec(shape=[None, size, size, 3]), **norms)
    decoder = FPN(
        backbone.output_specs, min_level=levels[0], max_level=levels[-1], num_filters=CHANNELS, name="decoder", **norms
    )
    head = RetinaNetHead(
        levels[0],
        levels[-1],
        num_classes=specification.class_slots,
        num_anchors_per_location=ratios * scales,
        num_convs=TOWER_DEPTH,
        num_filters=CHANNELS,
        name="head",
        **norms,
    )

    def in_our_order(x: "tf.Tensor", numbers: int, name: str) -> "tf.Tensor":
        """[B, H, W, scale x ratio x N] to [B, H x W x ratio x scale, N]."""
        x = tf_keras.layers.Reshape([x.shape[1] * x.shape[2], scales, ratios, numbers], name=f"{name}_cells")(x)
        x = tf_keras.layers.Permute([1, 3, 2, 4], name=f"{name}_order")(x)
        return tf_keras.layers.Reshape([-1, numbers], name=name)(x)

    inputs = tf_keras.Input([size, size, 3], name="image")
    rescale = tf_keras.layers.Rescaling(
        [0.5 / deviation for deviation in DEVIATION],
        [(0.5 - mean) / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)],
        name="imagenet",
    )
    scores, offsets, _ = head(decoder(backbone(rescale(inputs))))
    boxes = [in_our_order(offsets[str(level)], 4, f"boxes_{level}") for level in levels]
    classes = [in_our_order(scores[str(level)], specification.class_slots, f"classes_{level}") for level in levels]
    # float32 whatever the precision in between.
    encodings = tf_keras.layers.Concatenate(axis=1, dtype="float32", name="offsets")(boxes)
    outputs = {
        "box_encodings": tf_keras.layers.Rescaling(BOX_SCALE, dtype="float32", name="box_encodings")(encodings),
        "class_logits": tf_keras.layers.Concatenate(axis=1, dtype="float32", name="class_logits")(classes),
    }
    model = tf_keras.Model(inputs, outputs, name="retinanet_resnet50_fpn")

    tree = {
        "_backbone": _tree(backbone),
        "_decoder": _tree(decoder),
        "_head": {
            name: getattr(head, name)
            for name in ("_cls_convs", "_cls_norms", "_classifier", "_box_convs", "_box_norms", "_box_regressor")
        },
    }
    return Network(
        specification=specification,
        model=model,
        tree=tree,
        class_predictor=(head._classifier,),
        class_rows=(head._classifier.kernel, head._classifier.bias),
        backbone=(backbone,),
        regularized=tuple(variable for variable in model.trainable_variables if "kernel" in variable.name),
    )


def _tree(model: "tf_keras.Model") -> dict[str, Any]:
    """Layers with variables as Keras names them in checkpoints of a functional model; a block is a dictionary of its own."""
    import tf_keras

    tree: dict[str, Any] = {}
    for index, layer in enumerate(layer for layer in model.layers if layer.weights):
        parts = {name: part for name, part in vars(layer).items() if isinstance(part, tf_keras.layers.Layer) and part.weights}
        tree[f"layer_with_weights-{index}"] = parts or layer
    return tree


ARCHITECTURES = (
    Architecture(
        name="retinanet_resnet50_fpn_640x640",
        build=build,
        image_size=640,
        size_multiple=32,
        anchors=Anchors(aspect_ratios=(0.5, 1.0, 2.0), scales_per_octave=3),
        box_coder=BoxCoder(y_scale=BOX_SCALE, x_scale=BOX_SCALE, height_scale=BOX_SCALE, width_scale=BOX_SCALE),
        class_predictor_bias="model/_head/_classifier/bias",
        parameters=34_167_319,
        multiply_adds=96_880_198_400,
        average_precision=36.8,
        # Its table "RetinaNet (ImageNet pretrained)", R50-FPN 640x640, 72 epochs: 34.0 M parameters, 97.0 B FLOPs, box AP 36.8.
        source="TensorFlow Model Garden, official/vision/README.md, retinanet_resnetfpn_coco",
        zoo="https://storage.googleapis.com/tf_model_garden/vision/retinanet/retinanet-resnet50fpn.tar.gz",
        zoo_loads="all; tested with a checkpoint that Model Garden's code wrote, not with the published one",
    ),
)
