"""A detector of three convolutions, for tests of what runs a network: it is built and traced in a tenth of the time."""

from typing import TYPE_CHECKING

from boxcar.detectors.architecture import Architecture
from boxcar.detectors.network import Network
from boxcar.inference.specification import Anchors, BoxCoder, Specification

if TYPE_CHECKING:
    import tensorflow as tf

NAME = "tiny"


def build(specification: Specification, batch_norm_momentum: float, synchronized: bool) -> Network:
    """A stem with stride 8, and on its output, halved level after level, a convolution for each head."""
    import tf_keras

    layers, anchors = tf_keras.layers, specification.anchors
    assert anchors.min_level == 3, "the stem has stride 8"
    stem = layers.Conv2D(16, 8, strides=8, padding="same", use_bias=False)
    norm = layers.BatchNormalization(momentum=batch_norm_momentum, synchronized=synchronized)
    box_head = layers.Conv2D(anchors.per_cell * 4, 1)
    class_head = layers.Conv2D(
        anchors.per_cell * specification.class_slots, 1, bias_initializer=tf_keras.initializers.Constant(-4.6)
    )
    inputs = tf_keras.Input([specification.image_size, specification.image_size, 3])
    x = layers.ReLU()(norm(stem(inputs)))
    pyramid: list[tf.Tensor] = [x]
    for _ in range(anchors.max_level - anchors.min_level):
        pyramid.append(layers.AveragePooling2D(padding="same")(pyramid[-1]))
    heads = {"box_encodings": (box_head, 4), "class_logits": (class_head, specification.class_slots)}
    outputs = {
        name: layers.Concatenate(axis=1, dtype="float32", name=name)([layers.Reshape([-1, size])(head(x)) for x in pyramid])
        for name, (head, size) in heads.items()
    }
    return Network(
        specification=specification,
        model=tf_keras.Model(inputs, outputs),
        tree={"stem": [stem, norm], "heads": {"boxes": box_head, "classes": class_head}},
        class_predictor=(class_head,),
        class_rows=(class_head.kernel, class_head.bias),
        backbone=(stem, norm),
        regularized=(stem.kernel,),
    )


TINY = Architecture(
    name=NAME,
    build=build,
    image_size=64,
    size_multiple=8,
    anchors=Anchors(),
    box_coder=BoxCoder(),
    class_predictor_bias="model/heads/classes/bias",
    parameters=0,
    multiply_adds=0,
    average_precision=0.0,
    source="",
    zoo=None,
    zoo_loads="",
)
