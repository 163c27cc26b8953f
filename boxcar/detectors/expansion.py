"""The expansion of an inverted bottleneck, trained without reading its large output for the batch norm.

MobileNetV2's blocks (Sandler et al. 2018) begin with a 1x1 convolution to six times the channels, a batch norm and a ReLU6.
On a CPU the norm is bound by memory: it reads the largest tensors of the network twice in the forward pass and four times in
the backward pass. But the convolution is linear, so mean and variance of its output follow from mean and covariance of its
input, which is a sixth as large. With them known beforehand, the norm becomes a scale and an offset per channel, which the
convolution absorbs. The result is the same up to rounding, in less time and with less memory for the backward pass.
"""

from collections.abc import Callable

import tensorflow as tf
import tf_keras

# With more channels the covariance costs what the norm would: the maps are small there.
MOST_CHANNELS = 32


class Expansion(tf_keras.layers.Layer):  # type: ignore[misc]
    """A 1x1 convolution without bias and the batch norm after it, both already built.

    In training, it returns float32 [B, H, W, C'] for [B, H, W, C] and updates the norm's statistics, as the two layers do.
    Otherwise, or if the norm is frozen, it runs the two layers.
    """

    def __init__(self, convolution: tf_keras.layers.Conv2D, norm: tf_keras.layers.BatchNormalization) -> None:
        super().__init__(name=f"{norm.name}_expansion")
        self.convolution, self.norm = convolution, norm

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        norm = self.norm
        if not training or not norm.trainable:
            return norm(self.convolution(inputs), training=training)
        kernel = self.convolution.kernel[0, 0]
        mean, covariance = _moments(inputs)
        output_mean = tf.linalg.matvec(kernel, mean, transpose_a=True)
        variance = tf.reduce_sum(kernel * (covariance @ kernel), axis=0)
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
        # The moving variance is that of all images, estimated from these: as TensorFlow's fused batch norm does it.
        moved = (norm.moving_mean, output_mean), (norm.moving_variance, variance * count / tf.maximum(count - 1, 1))
        for moving, value in moved:
            moving.assign_sub((moving - tf.stop_gradient(value)) * (1 - norm.momentum))
        factor = norm.gamma * tf.math.rsqrt(variance + norm.epsilon)
        folded = tf.nn.conv2d(inputs, (kernel * factor)[None, None], 1, "VALID")
        return tf.nn.bias_add(folded, norm.beta - output_mean * factor)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _moments(inputs: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]:
    """Mean [C] and covariance [C, C] of the channels of [B, H, W, C]."""
    channels = inputs.shape[-1]
    vectors = tf.reshape(inputs, [-1, channels])
    count = tf.cast(tf.shape(vectors)[0], tf.float32)
    mean = tf.reduce_mean(vectors, axis=0)
    centered = vectors - mean  # before squaring: a difference of squares would lose what a small variance consists of
    covariance = tf.matmul(centered, centered, transpose_a=True) / count

    def gradient(of_mean: tf.Tensor, of_covariance: tf.Tensor) -> tf.Tensor:
        # d/dx of the covariance is (x - mean) (G + G') / n, the mean's own share of which adds up to nothing; written as a
        # convolution with a bias, it is one pass.
        both = (of_covariance + tf.transpose(of_covariance)) / count
        summand = of_mean / count - tf.linalg.matvec(both, mean)
        return tf.nn.bias_add(tf.nn.conv2d(inputs, both[None, None], 1, "VALID"), summand)

    return (mean, covariance), gradient
