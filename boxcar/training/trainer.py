"""One training step, in Model Garden's loop (orbit)."""

from typing import Any

import orbit
import tensorflow as tf
import tf_keras

from boxcar.detectors.losses import detection_losses
from boxcar.detectors.network import Network
from boxcar.training.settings import Settings

CLIP_NORM = 10.0  # of the gradient of all variables; only the first steps from random weights come near it


class WarmUpCosine(tf_keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Linear from near zero to the highest rate, then a cosine down to zero at the last step."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        highest, warm_up = self._settings.learning_rate, self._settings.warm_up_steps
        step = tf.cast(step, tf.float32)
        share = (step - warm_up) / max(self._settings.steps - warm_up, 1)
        cosine = 0.5 * highest * (1.0 + tf.cos(3.14159265 * tf.clip_by_value(share, 0.0, 1.0)))
        return tf.where(step < warm_up, highest * (step + 1.0) / warm_up, cosine)

    def get_config(self) -> dict[str, Any]:
        return self._settings.parameters()


class Trainer(orbit.StandardTrainer):  # type: ignore[misc]
    """Runs steps over batches of `input_pipeline.training_batches`, which `read` takes before the first one.

    `train(n)` answers the means over its n steps: `loss`, `classification_loss`, `localization_loss`, `regularization_loss`,
    `gradient_norm`, and the `learning_rate` of the last one.
    """

    def __init__(self, network: Network, settings: Settings) -> None:
        self.network = network
        self.schedule = WarmUpCosine(settings)
        self.optimizer = tf_keras.optimizers.SGD(self.schedule, momentum=0.9)
        self.optimizer.build(network.model.trainable_variables)
        names = ("loss", "classification_loss", "localization_loss", "regularization_loss", "gradient_norm")
        self._means = {name: tf_keras.metrics.Mean(name) for name in names}

    def read(self, batches: tf.data.Dataset) -> None:
        """Takes the batches to train on, beginning with the next step's."""
        super().__init__(batches, options=orbit.StandardTrainerOptions(use_tf_while_loop=True))

    @property
    def step(self) -> tf.Variable:
        """Steps done so far."""
        return self.optimizer.iterations

    def train_loop_begin(self) -> None:
        for mean in self._means.values():
            mean.reset_state()

    def train_step(self, iterator: Any) -> None:
        batch = next(iterator)
        variables = self.network.model.trainable_variables
        with tf.GradientTape() as tape:
            heads = self.network.model(batch["image"], training=True)
            losses = detection_losses(
                heads["box_encodings"],
                heads["class_logits"],
                batch["box_targets"],
                batch["class_targets"],
                self.network.regularized,
            )
            total = losses.total
        gradients, norm = tf.clip_by_global_norm(tape.gradient(total, variables), CLIP_NORM)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        for name, value in zip(self._means, (total, *losses, norm), strict=True):
            self._means[name].update_state(value)

    def train_loop_end(self) -> dict[str, tf.Tensor]:
        means = {name: mean.result() for name, mean in self._means.items()}
        return means | {"learning_rate": self.schedule(self.step - 1)}
