"""What a training run needs and nobody has to say: derived from the size of the data set."""

from dataclasses import asdict, dataclass
from typing import Any

from boxcar.run.configuration import Configuration

# An epoch of a small data set is over in seconds: these many are what 200 photographs need from random weights.
EPOCHS = 60
FEWEST_STEPS, MOST_DERIVED_STEPS = 600, 30_000
CHECKPOINTS = 12  # a run leaves about this many points on its evaluation curve
# Times the batch size. Random weights bear far more than the zoo's 0.08 for a batch of 128, and on short runs need it: drawn
# shapes at 128 px, batch 16, 600 steps scored AP 0.43 at 0.0025, 0.74 at 0.0075 and at 0.019.
RATE_FROM_RANDOM, RATE_FROM_TRAINED = 0.0125, 0.005
WARM_UP_SHARE = 0.05

# What to do then. Not --resume: a training is gone on with at its own settings only.
DIVERGED = "Start another run with a lower --learning-rate."


@dataclass(frozen=True)
class Settings:
    """A training run's numbers, all of them decided.

    Attributes:
        steps: optimizer steps in all.
        batch_size: pictures a step.
        learning_rate: highest learning rate; a linear warm-up leads to it, a cosine down to zero.
        warm_up_steps: steps of the warm-up.
        checkpoint_interval_steps: steps between checkpoints.
        batch_norm_momentum: share of the moving statistics that one step keeps.
        augmentations: how training pictures are varied, by name, in this order.
        seed: of weights, data order and augmentation.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warm_up_steps: int
    checkpoint_interval_steps: int
    batch_norm_momentum: float
    augmentations: tuple[str, ...]
    seed: int

    def parameters(self) -> dict[str, Any]:
        """As they stand in `step.json`."""
        return asdict(self)


def derive_settings(configuration: Configuration, pictures: int) -> Settings:
    """Fills in what the configuration leaves open, for a training split of so many pictures."""
    batch_size = configuration.batch_size or (16 if configuration.size <= 192 else 8)
    derived = -(-EPOCHS * pictures // batch_size // 100) * 100
    steps = configuration.steps or min(max(derived, FEWEST_STEPS), MOST_DERIVED_STEPS)
    interval = configuration.checkpoint_interval_steps or min(max(-(-steps // CHECKPOINTS), 25), 1000)
    # Moving statistics are an average over about 1 / (1 - momentum) steps: over a twentieth of the run, they have forgotten
    # the random start when the run ends, and over ten steps at least, they are smooth. 0.997 is the zoo's, for 50,000 steps.
    momentum = min(max(1 - 20 / steps, 0.9), 0.997)
    rate = RATE_FROM_RANDOM if configuration.init in (None, "none") else RATE_FROM_TRAINED
    return Settings(
        steps=steps,
        batch_size=batch_size,
        learning_rate=configuration.learning_rate or rate * batch_size,
        warm_up_steps=max(1, min(round(steps * WARM_UP_SHARE), 1000)),
        checkpoint_interval_steps=min(interval, steps),
        batch_norm_momentum=round(momentum, 4),
        augmentations=configuration.augmentations,
        seed=configuration.seed,
    )
