"""The optimizers and the learning rate schedule."""

from collections.abc import Iterable
from typing import Any

import tensorflow as tf
import tf_keras

from boxcar.training.settings import TrainingSettings

MOMENTUM = 0.9
ADAMW_WEIGHT_DECAY = 0.01  # Loshchilov and Hutter 2019's, and the default of every library


class WarmUpCosine(tf_keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Linear from near zero to the highest rate, then a cosine down to zero at the last step; all times `scale`."""

    def __init__(self, settings: TrainingSettings) -> None:
        super().__init__()
        self._settings = settings
        self.scale = tf.Variable(1.0, trainable=False, name="learning_rate_scale")

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        highest, warm_up = self._settings.learning_rate, self._settings.warm_up_steps
        step = tf.cast(step, tf.float32)
        share = (step - warm_up) / max(self._settings.steps - warm_up, 1)
        cosine = 0.5 * highest * (1.0 + tf.cos(3.14159265 * tf.clip_by_value(share, 0.0, 1.0)))
        return self.scale * tf.where(step < warm_up, highest * (step + 1.0) / warm_up, cosine)

    def get_config(self) -> dict[str, Any]:
        return self._settings.parameters()


class _WarmedAverage:
    """The decay of the weights' average. It is smaller at first, so that the average forgets the random start in short runs,
    too.

    The course is that of TensorFlow's `tf.train.ExponentialMovingAverage` with `num_updates`.

    Attributes:
        forgets_start: False for an average that starts from one of a trained detector; it has the same decay throughout.
    """

    iterations: tf.Variable
    forgets_start = True

    @property
    def ema_momentum(self) -> tf.Tensor:
        if not self.forgets_start:
            return tf.constant(self._decay)
        step = tf.cast(self.iterations, tf.float32)
        return tf.minimum(self._decay, (1.0 + step) / (10.0 + step))

    @ema_momentum.setter
    def ema_momentum(self, value: float) -> None:
        self._decay = value


class _SGD(_WarmedAverage, tf_keras.optimizers.SGD):  # type: ignore[misc]
    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Keras' step, in one operation instead of seven for each of some 160 variables."""
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self.momentums[self._index_dict[self._var_key(variable)]].handle,
            lr=tf.cast(self.learning_rate, variable.dtype),
            grad=gradient,
            momentum=tf.cast(self.momentum, variable.dtype),
        )


class _AdamW(_WarmedAverage, tf_keras.optimizers.AdamW):  # type: ignore[misc]
    pass


def make_optimizer(settings: TrainingSettings, schedule: WarmUpCosine, variables: Iterable[tf.Variable]) -> Any:
    """The settings' optimizer with all its slots, for these trainable variables.

    AdamW decays the kernels and leaves biases and batch norms alone. In mixed float16 the optimizer scales the loss.
    """
    # Never overwritten by the average: the weights themselves are trained.
    average = {"use_ema": settings.ema_decay is not None, "ema_momentum": settings.ema_decay or 0.0}
    variables = list(variables)
    if settings.optimizer == "sgd":
        optimizer = _SGD(schedule, momentum=MOMENTUM, **average)
    else:
        optimizer = _AdamW(schedule, weight_decay=ADAMW_WEIGHT_DECAY, **average)
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if v.shape.rank == 1])
    if settings.precision == "mixed_float16":
        optimizer = tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


def continue_average(optimizer: Any) -> None:
    """Treats the weights' average as one of a trained detector. Call it before the first step."""
    getattr(optimizer, "inner_optimizer", optimizer).forgets_start = False


def averaged_variables(optimizer: Any, variables: Iterable[tf.Variable]) -> dict[int, tf.Variable]:
    """The average of each variable by the variable's `id`; empty where none is kept."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if not inner.use_ema:
        return {}
    return {id(v): average for v, average in zip(variables, inner._model_variables_moving_average, strict=True)}
