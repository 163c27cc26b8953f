"""Scores a checkpoint as the Object Detection API's eval_continuously does; prints JSON. Runs in its environment.

On a few pictures, then on all: each time it traces its graph anew, and the difference is what pictures take.

Usage: evaluate.py RECORDS SPLIT SIZE CLASSES CHECKPOINT
"""

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

import fixes  # noqa: F401  # first: it makes the API importable
import tensorflow as tf
from object_detection import inputs, model_lib_v2
from object_detection.builders import model_builder
from object_detection.utils import config_util
from pipeline import pipeline_text

FEW = 15


def main() -> None:
    records, split, size, classes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    prefix = sys.argv[5]
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Path(folder) / "pipeline.config"
        pipeline.write_text(pipeline_text(size, classes, records, split=split))
        configs = config_util.get_configs_from_pipeline_file(str(pipeline))
        configs["eval_input_config"] = configs["eval_input_configs"][0]
        model = model_builder.build(configs["model"], is_training=True)
        pictures = inputs.eval_input(
            eval_config=configs["eval_config"],
            eval_input_config=configs["eval_input_config"],
            model_config=configs["model"],
            model=model,
        )
        image, shapes = model.preprocess(tf.zeros([1, size, size, 3]))
        model.predict(image, shapes)  # builds the variables, or a checkpoint is restored one by one as they come
        step = tf.Variable(0, dtype=tf.int64)
        seconds = []
        with tf.summary.create_file_writer(folder).as_default(), contextlib.redirect_stdout(sys.stderr):  # COCO prints
            for some in (pictures.take(FEW), pictures):
                started = time.perf_counter()
                tf.train.Checkpoint(model=model).read(prefix).assert_existing_objects_matched().expect_partial()
                scores = model_lib_v2.eager_eval_loop(model, configs, some, global_step=step)
                seconds.append(time.perf_counter() - started)
    found = {
        name: float(scores[f"DetectionBoxes_Precision/{key}"]) for name, key in {"AP": "mAP", "AP50": "mAP@.50IOU"}.items()
    }
    print(json.dumps({"seconds": seconds[1], "few": FEW, "few_seconds": seconds[0], **found}))


if __name__ == "__main__":
    main()
