"""The moving average of the weights: it forgets a random start, and not that of a trained detector."""

import pytest
import tensorflow as tf

from boxcar.config.run_settings import make_configuration
from boxcar.training.optimizers import WarmUpCosine, averaged_variables, continue_average, make_optimizer
from boxcar.training.settings import derive_settings


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("continued", [False, True])
def test_an_average_goes_on_with_the_decay_that_was_set(optimizer: str, precision: str, continued: bool) -> None:
    given = {"ema_decay": 0.9, "optimizer": optimizer, "precision": precision, "learning_rate": 1e-9, "steps": 100}
    settings = derive_settings(make_configuration(None, given), 40)
    weight = tf.Variable([1.0, 1.0])
    made = make_optimizer(settings, WarmUpCosine(settings), [weight])
    (average,) = averaged_variables(made, [weight]).values()
    average.assign([3.0, 3.0])
    if continued:
        continue_average(made)
    step = tf.function(lambda: made.apply_gradients([(tf.zeros(2), weight)]))
    step()
    step()
    if continued:
        assert average.numpy() == pytest.approx(1 + 0.81 * 2, abs=1e-5)
    else:
        assert (average.numpy() < 1.2).all()
