"""The evaluate step: scores every checkpoint. May import `config` and what is below; no other step.

TensorFlow is loaded when the first checkpoint is scored.
"""

from boxcar.evaluation.evaluator import evaluate

__all__ = ["evaluate"]
