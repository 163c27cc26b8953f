"""Trains as `boxcar train --evaluator none`, but saves no checkpoint and writes no summary. A child of checkpoints.py.

Usage: checkpoints_child.py RUN SIZE BATCH STEPS
"""

import sys
from typing import Any

import tensorflow as tf

from boxcar.config.run_settings import Configuration
from boxcar.training import train
from boxcar.training.checkpoint_store import CheckpointStore


def main() -> None:
    run, size, batch, steps = sys.argv[1], *map(int, sys.argv[2:])

    def nothing(*_: Any, **__: Any) -> None:
        pass

    def no_writer(*_: Any, **__: Any) -> tf.summary.SummaryWriter:
        return tf.summary.create_noop_writer()

    CheckpointStore.save = nothing
    tf.summary.create_file_writer = no_writer
    train(run, Configuration(init="none", image_size=size, batch_size=batch, steps=steps), evaluator=False)


if __name__ == "__main__":
    main()
