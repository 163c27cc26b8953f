"""The train step: checkpoints from records. May import `config` and what is below; no other step.

TensorFlow is loaded when training starts, not when this package is imported.
"""

from boxcar.training.devices import read_workers, require_gpus
from boxcar.training.initial import settle_init
from boxcar.training.lifecycle import check_training, train

__all__ = ["check_training", "read_workers", "require_gpus", "settle_init", "train"]
