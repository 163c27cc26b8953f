"""The evaluate step: scores every checkpoint. TensorFlow is loaded when the first one is scored."""

from boxcar.evaluation.evaluator import evaluate

__all__ = ["evaluate"]
