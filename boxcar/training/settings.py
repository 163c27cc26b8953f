"""The settings of a training, derived from the size of the data set if they are not given."""

from dataclasses import asdict, dataclass
from typing import Any

from boxcar.config.run_settings import Configuration, Optimizer, Precision

# An epoch of a small data set is over in seconds. From random weights, 200 photographs need 60 of them; trained weights need
# a third of that (docs/reference/fine-tuning.md).
EPOCHS_FROM_RANDOM, EPOCHS_FROM_TRAINED = 60, 20
FEWEST_FROM_RANDOM, FEWEST_FROM_TRAINED, MOST_DERIVED_STEPS = 600, 400, 30_000
CHECKPOINTS = 12  # a run leaves about this many points on its evaluation curve
PATIENCE = CHECKPOINTS // 2  # checkpoints without a higher AP after which a training from trained weights stops
# AdamW scales each step by the gradient itself, so its rate does not grow with the batch. From random weights, drawn shapes at
# 128 px, 300 steps: AP 0.75 at 0.004, 0.81 at 0.008; 260 steps: 0.80 at 0.012, 0.78 at 0.016. From trained ones, raccoon at
# 320 px, 250 steps: AP 0.596 at 0.0005, 0.607 at 0.001.
ADAMW_RATE_FROM_RANDOM, ADAMW_RATE_FROM_TRAINED = 0.008, 0.001
# SGD's, times the batch size. Random weights bear far more than the zoo's 0.08 for a batch of 128, and on short runs need it:
# drawn shapes at 128 px, batch 16, 600 steps scored AP 0.43 at 0.0025, 0.74 at 0.0075 and at 0.019.
SGD_RATE_FROM_RANDOM, SGD_RATE_FROM_TRAINED = 0.0125, 0.005
WARM_UP_SHARE = 0.05
# An average over about the last 50 steps scores high while the learning rate does: raccoon, 100 of 400 steps, test AP 0.56
# instead of 0.41; after all 400, 0.64 instead of 0.63.
EMA_DECAY_FROM_TRAINED = 0.98

DIVERGED = "Start another run with a lower --learning-rate."


@dataclass(frozen=True)
class TrainingSettings:
    """All settings of a training, fully derived.

    Attributes:
        steps: optimizer steps in all.
        batch_size: images per step, over all replicas.
        optimizer: `sgd` with momentum 0.9, or `adamw`.
        learning_rate: highest learning rate; a linear warm-up leads to it, a cosine down to zero.
        warm_up_steps: steps of the warm-up.
        checkpoint_interval_steps: steps between checkpoints.
        batch_norm_momentum: share of the moving statistics that one step keeps.
        ema_decay: of the average of the weights that is scored and exported; None for the weights themselves.
        freeze_backbone: whether the backbone stays fixed.
        precision: data type that layers compute in; variables are always float32.
        xla: whether the step's gradients are compiled.
        augmentations: augmentations of the training images by name, in this order.
        seed: seed for weights, data order, and augmentation.
    """

    steps: int
    batch_size: int
    optimizer: Optimizer
    learning_rate: float
    warm_up_steps: int
    checkpoint_interval_steps: int
    batch_norm_momentum: float
    ema_decay: float | None
    freeze_backbone: bool
    precision: Precision
    xla: bool
    augmentations: tuple[str, ...]
    seed: int

    def parameters(self) -> dict[str, Any]:
        """As `step.json` holds them."""
        return asdict(self)

    def sentence(self, images: int) -> str:
        """A sentence for the log that says what is trained."""
        epochs = self.steps * self.batch_size / images
        return (
            f"Training {self.steps} steps of {self.batch_size} images ({epochs:.1f} epochs of {images} images), "
            f"{self.optimizer} with a learning rate up to {self.learning_rate:g}, "
            f"a checkpoint every {self.checkpoint_interval_steps} steps."
        )


def derive_settings(configuration: Configuration, images: int) -> TrainingSettings:
    """Derives what the configuration leaves open from the number of images in the training split."""
    random = _starts_from_random(configuration)
    epochs, fewest = (EPOCHS_FROM_RANDOM, FEWEST_FROM_RANDOM) if random else (EPOCHS_FROM_TRAINED, FEWEST_FROM_TRAINED)
    batch_size = configuration.batch_size or (16 if configuration.size <= 192 else 8)
    derived = -(-epochs * images // batch_size // 100) * 100
    steps = configuration.steps or min(max(derived, fewest), MOST_DERIVED_STEPS)
    interval = configuration.checkpoint_interval_steps or min(max(-(-steps // CHECKPOINTS), 25), 1000)
    # Moving statistics are an average over about 1 / (1 - momentum) steps: over a twentieth of the run, they have forgotten
    # the random start when the run ends, and over ten steps at least, they are smooth. 0.997 is the zoo's, for 50,000 steps.
    momentum = min(max(1 - 20 / steps, 0.9), 0.997)
    if configuration.optimizer == "adamw":
        rate = ADAMW_RATE_FROM_RANDOM if random else ADAMW_RATE_FROM_TRAINED
    else:
        rate = (SGD_RATE_FROM_RANDOM if random else SGD_RATE_FROM_TRAINED) * batch_size
    average = configuration.ema_decay
    if average is None and not random:
        average = EMA_DECAY_FROM_TRAINED
    return TrainingSettings(
        steps=steps,
        batch_size=batch_size,
        optimizer=configuration.optimizer,
        learning_rate=configuration.learning_rate or rate,
        warm_up_steps=max(1, min(round(steps * WARM_UP_SHARE), 1000)),
        checkpoint_interval_steps=min(interval, steps),
        batch_norm_momentum=round(momentum, 4),
        ema_decay=average or None,
        freeze_backbone=configuration.freeze_backbone,
        precision=configuration.precision,
        xla=configuration.xla,
        augmentations=configuration.augmentations,
        seed=configuration.seed,
    )


def derive_patience(configuration: Configuration) -> int | None:
    """After how many checkpoints without a higher AP the training stops; None if it never stops early."""
    given = configuration.early_stopping_checkpoints
    if given is None:
        return None if _starts_from_random(configuration) else PATIENCE
    return given or None


def _starts_from_random(configuration: Configuration) -> bool:
    return configuration.init in (None, "none")
