"""The freeze and convert steps: from a checkpoint to exported files. May import `config` and what is below; no other step.

Importing this package does not load TensorFlow.
"""

from boxcar.export.converting import convert
from boxcar.export.freezing import freeze

__all__ = ["convert", "freeze"]
