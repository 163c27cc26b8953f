"""One training step: loss, gradients, and optimizer, on the strategy of `devices.make_strategy`."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxcar.detectors.losses import weight_decay
from boxcar.detectors.network import Network
from boxcar.detectors.tasks import find_task
from boxcar.training.optimizers import WarmUpCosine, make_optimizer
from boxcar.training.settings import TrainingSettings

CLIP_NORM = 10.0  # of the gradient of all variables; only the first steps from random weights come near it


@dataclass(frozen=True)
class LogWindow:
    """The results of the steps between two lines of the log.

    Attributes:
        names: of the scalars; `loss` is the first.
        scalars: [steps, names] float32.
        finite: [steps, images of this worker], whether an image's own loss is a finite number.
        waited_seconds: time spent waiting for the input.
    """

    names: tuple[str, ...]
    scalars: npt.NDArray[np.float32]
    finite: npt.NDArray[np.bool_]
    waited_seconds: float

    @property
    def steps(self) -> int:
        return len(self.scalars)

    @property
    def first_unhealthy(self) -> int | None:
        """The first step, from 0, whose loss is not finite; None if there is none."""
        found = np.flatnonzero(~np.isfinite(self.scalars[:, 0]))
        return int(found[0]) if found.size else None


class Trainer:
    """Takes steps with a network and its optimizer.

    A step whose loss or gradient is not finite moves the weights by momentum only, so they stay finite until the loop checks
    the loss.

    Args:
        network: made in the strategy's scope, as this is.
        settings: of the training.
        strategy: that the batches are distributed by.
    """

    def __init__(self, network: Network, settings: TrainingSettings, strategy: Any) -> None:
        self.network = network
        self._task = find_task(network.specification)
        losses = (f"{name}_loss" for name in (*self._task.loss_names, "regularization"))
        self.scalars = ("loss", *losses, "gradient_norm", "learning_rate")
        self._settings = settings
        self._strategy = strategy
        self._replicas = strategy.num_replicas_in_sync
        if settings.freeze_backbone:
            for layer in network.backbone:
                layer.trainable = False
        self.trained = network.model.trainable_variables
        trained = {id(variable) for variable in self.trained}
        # AdamW decays the weights itself, and what is frozen has a constant loss.
        decayed = () if settings.optimizer == "adamw" else network.regularized
        self._regularized = [variable for variable in decayed if id(variable) in trained]
        self.schedule = WarmUpCosine(settings)
        self.optimizer = make_optimizer(settings, self.schedule, self.trained)
        self._scales_loss = settings.precision == "mixed_float16"
        self._total = tf.function(self._add_up)
        self._distributed_step = tf.function(self._step_of_all)
        self._gradients = tf.function(self._gradients_of, jit_compile=True) if settings.xla else self._gradients_of

    def train(self, batches: Iterator[Any], steps: int, stopping: Callable[[], bool]) -> LogWindow:
        """Trains on the next `steps` batches, or stops earlier, after the step at which `stopping` returns True."""
        waited = 0.0
        rows = []
        for _ in range(steps):
            asked = time.monotonic()
            batch = next(batches)
            waited += time.monotonic() - asked
            rows.append(self._distributed_step(batch))
            if stopping():
                break
        # Only here does the host wait for what a GPU computes.
        scalars = np.stack([row.numpy() for row, _ in rows])
        finite = np.stack([one.numpy() for _, one in rows])
        return LogWindow(self.scalars, scalars, finite, waited)

    def agree(self, flag: bool) -> bool:
        """Whether the flag of any worker is set. All workers call this together and get the same answer."""
        return self.mean(float(flag)) > 0

    def mean(self, value: float) -> float:
        """The mean of a value over all replicas. All workers call this together."""
        total = self._strategy.experimental_local_results(self._total(tf.constant(value)))
        return float(total[0].numpy() / self._replicas)

    def _add_up(self, value: tf.Tensor) -> Any:
        return self._strategy.run(lambda own: self._sum(tf.identity(own)), args=(value,))

    def _step_of_all(self, batch: Any) -> tuple[tf.Tensor, tf.Tensor]:
        scalars, finite = self._strategy.run(self._step_of_one, args=(batch,))
        local = self._strategy.experimental_local_results
        return local(scalars)[0], tf.concat(local(finite), axis=0)

    def _step_of_one(self, batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """One replica's share of a step: the scalars of all replicas together, and its own images' `finite`."""
        matches = self._sum(self._task.count_matches(batch))
        gradients, losses, finite = self._gradients(batch, matches)
        gradients, losses = self._sum(gradients), self._sum(losses)
        total = tf.reduce_sum(losses)
        norm = tf.linalg.global_norm(gradients)
        scale = CLIP_NORM / tf.maximum(norm, CLIP_NORM)
        if not self._scales_loss:  # where it is scaled, the optimizer leaves such steps out, and expects them
            scale = tf.where(tf.math.is_finite(total) & tf.math.is_finite(norm), scale, 0.0)
        clipped = [tf.math.multiply_no_nan(gradient, scale) for gradient in gradients]
        rate = self.schedule(self.optimizer.iterations)
        self.optimizer.apply_gradients(zip(clipped, self.trained, strict=True), skip_gradients_aggregation=True)
        return tf.concat([[total], losses, [norm, rate]], axis=0), finite

    def _gradients_of(self, batch: dict[str, tf.Tensor], matches: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """Gradients, the parts of the loss [P] and `finite` [b] of a replica's images; sums over replicas are the batch's."""
        with tf.GradientTape() as tape:
            answer = self.network.model(batch["image"], training=True)
            heads = {name: tf.cast(values, tf.float32) for name, values in answer.items()}
            losses = self._task.losses(heads, batch, matches)
            parts = tf.stack([*losses.parts.values(), weight_decay(self._regularized) / self._replicas])
            total = tf.reduce_sum(parts)
            if self._scales_loss:
                total = self.optimizer.get_scaled_loss(total)
        gradients = tape.gradient(total, self.trained)
        if self._scales_loss:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        return gradients, parts, losses.finite

    def _sum(self, value: Any) -> Any:
        """The sum over replicas of a tensor or of each of a list."""
        if self._replicas == 1:
            return value
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)
