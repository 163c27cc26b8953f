"""Nearest-neighbor upsampling that XLA can differentiate."""

from collections.abc import Callable

import tensorflow as tf
import tf_keras


class NearestUpSampling(tf_keras.layers.UpSampling2D):  # type: ignore[misc]
    """Doubles rows and columns of a feature map [B, H, W, C] with known H, W and C.

    The gradient of TensorFlow's own resize (`ResizeNearestNeighborGrad`) has no XLA kernel, so training repeats by
    broadcasting. Inference keeps the resize, which every converter knows; the values are the same.
    """

    def __init__(self, name: str) -> None:
        super().__init__(2, interpolation="nearest", name=name)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not training:
            return super().call(inputs)
        return _doubled(inputs)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _doubled(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    _, height, width, channels = inputs.shape
    repeated = tf.broadcast_to(inputs[:, :, None, :, None], [tf.shape(inputs)[0], height, 2, width, 2, channels])

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        # The sum over each four; as a mean of them it takes a ninth of the time of `reduce_sum` over two inner axes.
        return 4 * tf.nn.avg_pool2d(upstream, 2, 2, "VALID")

    return tf.reshape(repeated, [-1, 2 * height, 2 * width, channels]), gradient
