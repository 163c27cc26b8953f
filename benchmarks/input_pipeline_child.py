"""One input pipeline for some seconds; prints images a second as JSON. A child of input_pipeline.py.

Usage: input_pipeline_child.py ours|garden RECORDS SIZE BATCH SECONDS
"""

import json
import sys
import time
from pathlib import Path

WARM_UP_BATCHES = 30  # the autotuner's first choices, and full buffers


def ours(records: Path, size: int, batch: int):
    from boxcar.data.input_pipeline import IndexedSplit, training_batches
    from boxcar.data.label_map import read_label_map
    from boxcar.inference.specification import Specification

    specification = Specification(
        architecture="ssd_mobilenet_v2_fpnlite_320x320",
        image_size=size,
        labels=read_label_map(records / "label_map.pbtxt"),
    )
    split = IndexedSplit(sorted(records.glob("train-*.tfrecord")))
    return training_batches(split, specification, batch, ("horizontal_flip", "scale_jitter"), seed=0, first_step=0)


def garden(records: Path, size: int, batch: int):
    """Model Garden's RetinaNet task with the same anchors, sizes and kinds of variation."""
    from official.core import exp_factory
    from official.vision import registry_imports  # noqa: F401
    from official.vision.tasks.retinanet import RetinaNetTask

    task = exp_factory.get_exp_config("retinanet").task
    task.model.input_size = [size, size, 3]
    task.model.anchor.override({"num_scales": 2, "aspect_ratios": [1.0, 2.0, 0.5], "anchor_size": 4.0})
    task.train_data.override(
        {
            "input_path": str(records / "train-*.tfrecord"),
            "is_training": True,
            "global_batch_size": batch,
            "dtype": "float32",
            "decoder": {"simple_decoder": {"regenerate_source_id": True}},
            # Its own scale jitter: scaled by so much, cropped or padded, as Boxcar's `scale_jitter` does.
            "parser": {
                "aug_rand_hflip": True,
                "aug_scale_min": 0.6,
                "aug_scale_max": 1.4,
                "pad": False,
                "keep_aspect_ratio": False,
            },
        }
    )
    return RetinaNetTask(task).build_inputs(task.train_data)


def main() -> None:
    make = {"ours": ours, "garden": garden}[sys.argv[1]]
    size, batch, seconds = map(int, sys.argv[3:])
    batches = iter(make(Path(sys.argv[2]), size, batch))
    for _ in range(WARM_UP_BATCHES):
        next(batches)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        next(batches)
        count += 1
    print(json.dumps({"images_per_second": count * batch / (time.perf_counter() - started)}))


if __name__ == "__main__":
    main()
