"""The parts of Model Garden that networks are built from.

The packages that hold them import every task of Model Garden, and with them TensorFlow Datasets and Matplotlib: a fifth of the
time in which a step starts. None of it is used here. So these packages are registered without running their `__init__`.
"""

import sys
from importlib.util import find_spec, module_from_spec

for _package in (
    "official.core",
    "official.vision",
    "official.vision.modeling",
    "official.vision.modeling.backbones",
    "official.vision.modeling.decoders",
    "official.vision.modeling.heads",
):
    if _package not in sys.modules and (_spec := find_spec(_package)):
        sys.modules[_package] = module_from_spec(_spec)

from official.vision.modeling.backbones.mobilenet import MobileNet  # noqa: E402
from official.vision.modeling.backbones.resnet import ResNet  # noqa: E402
from official.vision.modeling.decoders.fpn import FPN  # noqa: E402
from official.vision.modeling.heads.dense_prediction_heads import RetinaNetHead  # noqa: E402

__all__ = ["FPN", "MobileNet", "ResNet", "RetinaNetHead"]
