"""From a checkpoint to files that run elsewhere: `freeze`, then `convert`. Importing this does not load TensorFlow."""

from boxcar.export.converting import convert
from boxcar.export.freezing import freeze

__all__ = ["convert", "freeze"]
