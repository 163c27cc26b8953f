"""From a checkpoint to files that run elsewhere: `freeze`, then `convert`. Importing this does not load TensorFlow."""

from boxcar.export.conversion import convert
from boxcar.export.saved_model import freeze

__all__ = ["convert", "freeze"]
