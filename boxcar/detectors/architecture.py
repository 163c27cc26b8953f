"""What is known about an architecture before its network is built. Does not load TensorFlow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from boxcar.detectors.network import Network
from boxcar.inference.specification import Anchors, BoxCoder, Specification, TaskName, has_gaps

# The words of `--formats` and of the manifest.
Format = Literal[
    "saved_model",
    "tflite_float32",
    "tflite_float16",
    "tflite_dynamic",
    "tflite_int8",
    "tflite_float32_nms",
    "tflite_int8_nms",
    "tfjs_float32",
    "tfjs_float16",
    "tfjs_uint8",
]
EXPORTS: tuple[Format, ...] = get_args(Format)
# What `--formats all` means: the SavedModel is always written.
CONVERSIONS: tuple[Format, ...] = tuple(kind for kind in EXPORTS if kind != "saved_model")


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    Attributes:
        name: as `--architecture` takes it.
        build: (specification, batch-norm momentum, whether batch norms are synchronized) to the network with random weights,
            as `catalog.build_network` describes.
        image_size: default side of the input in pixels.
        size_multiple: the input's side must be a multiple of this, in pixels.
        anchors: the anchor grid that it is trained with.
        box_coder: the scales of its box encodings.
        class_predictor_bias: name in checkpoints of the bias with one element for each anchor of a cell and class slot.
        parameters: numbers in the network, moving statistics included, with the 91 slots of COCO.
        multiply_adds: of all convolutions for one image of the default size, with 91 slots.
        average_precision: COCO AP in percent, published for weights trained on COCO at the default size.
        source: where its definition and its AP are published.
        zoo: address of those weights, a .tar.gz.
        zoo_loads: whether those weights can be loaded, and how this was tested.
        api_feature_extractor: what the Object Detection API calls it in a `pipeline.config`; None where the API has none.
        task: its task, by the name that `tasks.find_task` knows.
        value_range: the values of black and white in the network's input.
        exports: the formats it can be converted to, as named in `--formats`.
    """

    name: str
    build: Callable[[Specification, float, bool], Network]
    image_size: int
    size_multiple: int
    anchors: Anchors
    box_coder: BoxCoder
    class_predictor_bias: str
    parameters: int
    multiply_adds: int
    average_precision: float
    source: str
    zoo: str | None
    zoo_loads: str
    api_feature_extractor: str | None = None
    task: TaskName = "boxes"
    value_range: tuple[float, float] = (-1.0, 1.0)
    exports: tuple[Format, ...] = EXPORTS

    def specify(self, image_size: int, labels: dict[int, str], dataset_version: str | None = None) -> Specification:
        """The specification of a detector of this architecture, before training. Its class slots have no gaps."""
        return Specification(
            architecture=self.name,
            task=self.task,
            image_size=image_size,
            value_range=self.value_range,
            labels=labels,
            dense_slots=has_gaps(labels),
            anchors=self.anchors,
            box_coder=self.box_coder,
            dataset_version=dataset_version,
        )
