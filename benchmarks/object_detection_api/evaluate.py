"""Scores a checkpoint as the Object Detection API's eval_continuously does; prints JSON. Runs in its environment.

Twice, because a process's first time is slower. `steady`, in pictures a second, leaves out the first pictures, with which the
graph is traced anew each time.

Usage: evaluate.py RECORDS SPLIT SIZE CLASSES CHECKPOINT
"""

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fixes  # noqa: F401  # first: it makes the API importable
import tensorflow as tf
from object_detection import inputs, model_lib_v2
from object_detection.builders import model_builder
from object_detection.utils import config_util
from pipeline import pipeline_text

FIRST = 3  # pictures with which the API traces, and TensorFlow warms up


class Watched:
    """The pictures, and when each was asked for."""

    def __init__(self, pictures: Iterable[Any]) -> None:
        self._pictures = pictures
        self.asked: list[float] = []

    def __iter__(self) -> Iterator[Any]:
        self.asked = []
        for picture in self._pictures:
            self.asked.append(time.perf_counter())
            yield picture


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
        watched = Watched(pictures)
        with tf.summary.create_file_writer(folder).as_default(), contextlib.redirect_stdout(sys.stderr):  # COCO prints
            for _ in range(2):
                started = time.perf_counter()
                tf.train.Checkpoint(model=model).read(prefix).assert_existing_objects_matched().expect_partial()
                scores = model_lib_v2.eager_eval_loop(model, configs, watched, global_step=step)
                ended = time.perf_counter()
    steady = (len(watched.asked) - FIRST) / (ended - watched.asked[FIRST])
    found = {
        name: float(scores[f"DetectionBoxes_Precision/{key}"]) for name, key in {"AP": "mAP", "AP50": "mAP@.50IOU"}.items()
    }
    print(json.dumps({"seconds": ended - started, "steady": steady, **found}))


if __name__ == "__main__":
    main()
