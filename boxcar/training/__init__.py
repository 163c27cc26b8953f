"""The train step: checkpoints from records. TensorFlow is loaded when training starts, not when this is imported."""

from boxcar.training.train import train

__all__ = ["train"]
