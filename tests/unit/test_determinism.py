"""On the CPU the same step is the same to the last bit, whichever of its operations are ready first."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from boxcar.config.run_settings import make_configuration
from boxcar.data.input_pipeline import IndexedSplit, training_batches
from boxcar.data.label_map import read_label_map
from boxcar.detectors.catalog import build_network, find_architecture
from boxcar.detectors.losses import count_matches
from boxcar.training.devices import Workers, make_strategy
from boxcar.training.settings import derive_settings
from boxcar.training.trainer import Trainer


@pytest.mark.slow
def test_the_same_batch_has_the_same_gradients_each_time(shapes_records: Path) -> None:
    # Large enough that operations run beside each other, and five levels share the tower's kernels.
    strategy = make_strategy(0, Workers())
    configuration = make_configuration(None, {"image_size": 128, "batch_size": 16})
    specification = find_architecture(configuration.architecture).specify(
        configuration.size, read_label_map(shapes_records / "label_map.pbtxt")
    )
    settings = derive_settings(configuration, 100)
    trainer = Trainer(build_network(specification), settings, strategy)
    split = IndexedSplit(sorted(shapes_records.glob("train-*.tfrecord")))
    batch = next(iter(training_batches(split, specification, settings.batch_size, (), 0, 0)))
    gradients = tf.function(lambda: trainer._gradients_of(batch, count_matches(batch["class_targets"]))[0])
    first, *others = ([gradient.numpy() for gradient in gradients()] for _ in range(5))
    for again in others:
        for variable, one, other in zip(trainer.trained, first, again, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=variable.name)
