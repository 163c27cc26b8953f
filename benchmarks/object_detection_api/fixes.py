"""Import this first: what the Object Detection API of PyPI (2.8.0.post1) needs on a TensorFlow that is five years younger.

Nothing of the API is changed in what it computes:

1. its protocol buffer modules were generated for an older protobuf, whose Python implementation still reads them;
2. it imports tensorflow_io, which has no build for this TensorFlow and is used for audio and video only;
3. it imports `tensorflow.compat.v1.estimator`, of which the TF2 half uses the names of the modes only;
4. tf_slim takes `case` and `cond` from a module that has lost them;
5. Pillow's fonts have `getbbox` where it calls `getsize`.
"""

import os
import sys
import types

os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # Keras 2, as tf_keras
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from PIL import ImageFont
from tensorflow.python.ops import cond, control_flow_case, control_flow_ops

sys.modules["tensorflow_io"] = types.ModuleType("tensorflow_io")

estimator = types.ModuleType("tensorflow.compat.v1.estimator")
estimator.ModeKeys = types.SimpleNamespace(TRAIN="train", EVAL="eval", PREDICT="infer")
tf.compat.v1.estimator = estimator
sys.modules["tensorflow.compat.v1.estimator"] = estimator

control_flow_ops.case = control_flow_case.case
control_flow_ops.cond = cond.cond


def _size(font: ImageFont.FreeTypeFont, text: str) -> tuple[int, int]:
    left, top, right, bottom = font.getbbox(text)
    return right - left, bottom - top


ImageFont.FreeTypeFont.getsize = _size
ImageFont.ImageFont.getsize = _size
