"""What a follower of the zoo's tutorials does with a frozen folder, by the Object Detection API itself, in its environment.

Usage: object_detection_api.py FOLDER PICTURE.npy ANSWER.npz
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "object_detection_api"))
import fixes  # noqa: F401  # first: it makes the API importable
import numpy as np
import tensorflow as tf
from object_detection.builders import model_builder
from object_detection.utils import config_util, label_map_util


def main() -> None:
    folder, picture = Path(sys.argv[1]), np.load(sys.argv[2])
    configs = config_util.get_configs_from_pipeline_file(str(folder / "pipeline.config"))
    model = model_builder.build(model_config=configs["model"], is_training=False)
    status = tf.train.Checkpoint(model=model).restore(str(folder / "checkpoint" / "ckpt-0"))
    preprocessed, shapes = model.preprocess(tf.cast(picture[None], tf.float32))
    prediction = model.predict(preprocessed, shapes)
    # Every variable that the API has got its value, and none in the checkpoint is left.
    status.assert_existing_objects_matched()
    status.assert_consumed()
    found = {name: np.asarray(value)[0] for name, value in model.postprocess(prediction, shapes).items()}
    names = label_map_util.create_category_index_from_labelmap(str(folder / "label_map.pbtxt"))
    trained = config_util.get_configs_from_pipeline_file(str(folder / "pipeline.config"))["train_config"]
    np.savez(
        sys.argv[3],
        boxes=found["detection_boxes"],
        scores=found["detection_scores"],
        classes=found["detection_classes"],
        count=found["num_detections"],
        names=[names[number]["name"] for number in sorted(names)],
        heads=prediction["class_predictions_with_background"].numpy()[0],
        fine_tune=trained.fine_tune_checkpoint_type,
    )


if __name__ == "__main__":
    main()
