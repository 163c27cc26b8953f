"""Trains with the Object Detection API's own loop and input pipeline; prints its speed as JSON. Runs in its environment.

Usage: train.py RECORDS SIZE CLASSES BATCH STEPS
"""

import json
import sys
import tempfile
from pathlib import Path

import fixes  # noqa: F401  # first: it makes the API importable
import tensorflow as tf
from object_detection import model_lib_v2
from pipeline import pipeline_text
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

STEPS_PER_LOOP = 10  # as Boxcar's; the API's own 100 takes as long for each step


def main() -> None:
    records, size, classes, batch, steps = Path(sys.argv[1]), *map(int, sys.argv[2:])
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Path(folder) / "pipeline.config"
        pipeline.write_text(pipeline_text(size, classes, records, batch_size=batch))
        # What model_main_tf2.py chooses where there is no TPU; on a CPU a mirrored strategy of one.
        strategy = tf.distribute.MirroredStrategy()
        with strategy.scope():
            model_lib_v2.train_loop(
                pipeline_config_path=str(pipeline),
                model_dir=folder,
                train_steps=steps,
                num_steps_per_iteration=STEPS_PER_LOOP,
            )
        events = EventAccumulator(f"{folder}/train", size_guidance={"tensors": 0}).Reload()
        speeds = [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors("steps_per_sec")]
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    print(json.dumps({"images_per_second": [speed * batch for speed in speeds], "device": device}))


if __name__ == "__main__":
    main()
