"""What is derived from the size of a data set, and what is said outright."""

import pytest

from boxcar.config.run_settings import Configuration
from boxcar.training.settings import (
    FEWEST_FROM_RANDOM,
    FEWEST_FROM_TRAINED,
    MOST_DERIVED_STEPS,
    SGD_RATE_FROM_RANDOM,
    derive_patience,
    derive_settings,
)


def test_what_is_said_is_kept() -> None:
    said = Configuration(
        steps=7,
        batch_size=3,
        learning_rate=0.5,
        checkpoint_interval_steps=2,
        seed=9,
        augmentations=("scale_jitter",),
        image_size=64,
    )
    settings = derive_settings(said, 1000)
    assert (settings.steps, settings.batch_size, settings.learning_rate) == (7, 3, 0.5)
    assert (settings.checkpoint_interval_steps, settings.seed, settings.augmentations) == (2, 9, ("scale_jitter",))


@pytest.mark.parametrize("images", [1, 10, 140, 2000, 100_000])
@pytest.mark.parametrize("size", [64, 320, 640])
@pytest.mark.parametrize(("init", "fewest"), [("none", FEWEST_FROM_RANDOM), ("packaged", FEWEST_FROM_TRAINED)])
def test_what_is_derived_is_sound_for_any_data_set(init: str, fewest: int, images: int, size: int) -> None:
    settings = derive_settings(Configuration(image_size=size, init=init), images)
    assert fewest <= settings.steps <= MOST_DERIVED_STEPS
    assert settings.batch_size == (16 if size == 64 else 8)
    assert 1 <= settings.warm_up_steps <= settings.steps // 10
    assert 8 <= settings.steps / settings.checkpoint_interval_steps <= 40
    assert 0.9 <= settings.batch_norm_momentum <= 0.997


def test_more_images_are_trained_on_for_longer_up_to_a_limit() -> None:
    steps = [derive_settings(Configuration(), images).steps for images in (10, 200, 1000, 5000, 50_000)]
    assert steps == sorted(steps)
    assert steps[0] == FEWEST_FROM_RANDOM < steps[1] < steps[2] < steps[-1] == MOST_DERIVED_STEPS
    # 60 epochs in batches of 8.
    assert steps[1] == 1500


@pytest.mark.parametrize("steps", [1, 2, 9, 24, 25, 700])
def test_the_shortest_runs_have_a_checkpoint_and_a_warm_up(steps: int) -> None:
    settings = derive_settings(Configuration(steps=steps), 50)
    assert 1 <= settings.checkpoint_interval_steps <= steps
    assert 1 <= settings.warm_up_steps <= steps
    assert derive_settings(Configuration(steps=steps, checkpoint_interval_steps=10_000), 50).checkpoint_interval_steps == steps


def test_trained_weights_need_fewer_steps() -> None:
    random, trained = (derive_settings(Configuration(init=init), 2000).steps for init in ("none", "/zoo/ckpt-0"))
    assert trained < random / 2


def test_the_rate_of_sgd_goes_with_the_batch_and_is_lower_for_trained_weights() -> None:
    sgd = Configuration(optimizer="sgd")
    small, large = (derive_settings(sgd.model_copy(update={"batch_size": size}), 100).learning_rate for size in (4, 16))
    assert large == pytest.approx(4 * small) == pytest.approx(16 * SGD_RATE_FROM_RANDOM)
    trained = sgd.model_copy(update={"batch_size": 16, "init": "/zoo/ckpt-0"})
    assert derive_settings(trained, 100).learning_rate < large


def test_the_rate_of_adamw_is_lower_for_trained_weights_and_does_not_depend_on_the_batch() -> None:
    random, trained = (derive_settings(Configuration(init=init), 100).learning_rate for init in ("none", "packaged"))
    assert trained < random
    assert derive_settings(Configuration(init="packaged", batch_size=32), 100).learning_rate == trained


def test_training_stops_early_by_default_only_from_trained_weights() -> None:
    assert derive_patience(Configuration(init="none")) is None
    assert derive_patience(Configuration(init="packaged")) == 6
    assert derive_patience(Configuration(init="packaged", early_stopping_checkpoints=0)) is None
    assert derive_patience(Configuration(init="none", early_stopping_checkpoints=3)) == 3


def test_the_learning_rate_climbs_then_falls_to_nothing() -> None:
    from boxcar.training.optimizers import WarmUpCosine

    settings = derive_settings(Configuration(steps=200, learning_rate=0.5), 100)
    rates = [float(WarmUpCosine(settings)(step)) for step in range(200)]
    peak = settings.warm_up_steps
    assert rates[0] == pytest.approx(0.5 / peak)
    assert max(rates) == pytest.approx(0.5)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[(200 + peak) // 2] == pytest.approx(0.25, abs=0.01)
    assert rates[-1] < 0.001
