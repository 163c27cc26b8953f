"""The evaluate step: scores every checkpoint. TensorFlow is loaded when the first one is scored."""

from boxcar.evaluation.step import evaluate

__all__ = ["evaluate"]
