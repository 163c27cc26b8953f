"""From a checkpoint to files that run elsewhere: `freeze`, then `convert`. Importing this does not load TensorFlow."""

from boxcar.export.convert import convert
from boxcar.export.freeze import freeze

__all__ = ["convert", "freeze"]
