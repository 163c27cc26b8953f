"""Makes tests/golden/ssd_mobilenet_v2_fpnlite.npz: what the Object Detection API answers for the inputs of golden_inputs.py.

Usage: make bench-golden
"""

import sys
import tempfile
from pathlib import Path

import fixes  # noqa: F401  # first: it makes the API importable
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from object_detection.builders import model_builder
from object_detection.protos import pipeline_pb2
from pipeline import model_text

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit"))
import golden_inputs  # noqa: E402  # where the tests have it

OUTPUT = ROOT / "tests" / "golden" / "ssd_mobilenet_v2_fpnlite.npz"
EVERY = 5  # anchors of which one is kept; 3,228 are all
SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def fill(model: tf.Module) -> None:
    """Gives every variable the value that belongs to its name, by way of a checkpoint: only there it has one."""
    checkpoint = tf.train.Checkpoint(model=model)
    with tempfile.TemporaryDirectory() as folder:
        prefix = checkpoint.write(f"{folder}/random")
        reader = tf.train.load_checkpoint(prefix)
        shapes = {name: shape for name, shape in reader.get_variable_to_shape_map().items() if name.startswith("model/")}
        assert len(shapes) == 384, f"{len(shapes)} variables"
        tensors = {name: golden_inputs.weights(name.removesuffix(SUFFIX), tuple(shape)) for name, shape in shapes.items()}
        tensors[OBJECT_GRAPH] = tf.constant(reader.get_tensor(OBJECT_GRAPH))
        names = list(tensors)
        tf.raw_ops.SaveV2(
            prefix=f"{folder}/golden",
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.convert_to_tensor(tensors[name]) for name in names],
        )
        checkpoint.read(f"{folder}/golden").assert_consumed()


def main() -> None:
    size, labels = golden_inputs.IMAGE_SIZE, golden_inputs.LABELS
    configuration = pipeline_pb2.TrainEvalPipelineConfig()
    text_format.Parse(model_text(size, len(labels)), configuration)
    model = model_builder.build(configuration.model, is_training=False)
    picture = golden_inputs.picture()
    preprocessed, shapes = model.preprocess(tf.cast(picture[None], tf.float32))
    model.predict(preprocessed, shapes)  # builds the variables
    fill(model)
    prediction = model.predict(preprocessed, shapes)
    detections = model.postprocess(prediction, shapes)
    classes = tf.one_hot(golden_inputs.BOX_LABELS - 1, len(labels))
    model.provide_groundtruth([tf.constant(golden_inputs.BOXES)], [classes])
    losses = model.loss(prediction, shapes)
    anchors = prediction["anchors"].numpy()
    boxes, logits = prediction["box_encodings"].numpy()[0], prediction["class_predictions_with_background"].numpy()[0]
    boxes = boxes.reshape(-1, 4)
    # Every fifth, and the last 13 cells whole: those are levels 6 and 7.
    kept = np.union1d(np.arange(0, len(anchors), EVERY), np.arange(len(anchors) - 13 * 6, len(anchors)))
    count = int(detections["num_detections"][0])
    print(f"anchors {anchors.shape}, boxes {boxes.std():.3f} (largest {np.abs(boxes).max():.2f}), logits {logits.std():.3f}, ")
    print(f"{count} detections, scores {detections['detection_scores'].numpy()[0, [0, count - 1]]}, {losses}")
    OUTPUT.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        OUTPUT,
        preprocessed=preprocessed.numpy()[0, ::8, ::8],
        preprocessed_sum=preprocessed.numpy().sum(dtype=np.float64),
        anchor_index=kept.astype(np.int32),
        anchors=anchors[kept],
        anchors_sum=anchors.sum(axis=0, dtype=np.float64),
        anchors_squares=np.square(anchors, dtype=np.float64).sum(axis=0),
        box_encodings=boxes[kept],
        class_predictions=logits[kept],
        heads_sum=np.array([boxes.sum(dtype=np.float64), logits.sum(dtype=np.float64)]),
        detection_boxes=detections["detection_boxes"].numpy()[0, :count],
        detection_scores=detections["detection_scores"].numpy()[0, :count],
        detection_classes=detections["detection_classes"].numpy()[0, :count].astype(np.int32),  # from 0
        loss_localization=losses["Loss/localization_loss"].numpy(),
        loss_classification=losses["Loss/classification_loss"].numpy(),
        loss_regularization=np.float32(tf.add_n(model.regularization_losses()).numpy()),
    )
    print(f"{OUTPUT.relative_to(ROOT)}: {OUTPUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
