"""Exported files: how fast, how small and how true they are, against their own SavedModel and against the usual ways of export.

Two detectors are trained first, because a quantized file can be judged only where it finds something: one on drawn shapes, one
on photographs. What is compared with the Object Detection API and Model Garden needs weights, not training.
"""

import exports_saved_model
import exports_tfjs
import exports_tflite
from exports_detectors import ARCHITECTURE, Detector, train
from measuring import BENCH, SHARED, Result, photographs, say, scratch, shapes_records

SHAPES_SIZE, SIZE = 128, 320
RACCOON = SHARED / "datasets" / "raccoon"
ZOO = SHARED / "zoo" / "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8" / "checkpoint" / "ckpt-0"
# Drawn, because most raccoons stand in the middle: a network that has learnt nothing else scores on them already, by such small
# differences that INT8 loses them, and `boxcar convert` then refuses the file.
TINY = {"shapes_steps": 2, "photograph_steps": 2, "repetitions": 1, "pictures": 2, "drawn": True}


def measure(
    *,
    shapes_steps: int = 500,
    photograph_steps: int = 800,
    repetitions: int = 3,
    pictures: int = 30,
    drawn: bool = False,
) -> Result:
    """Measures everything.

    Args:
        shapes_steps: of training on the drawn shapes; 500 are those of examples/demo.yaml.
        photograph_steps: of training on the photographs.
        repetitions: how often each side is timed, in turns.
        pictures: that are timed each time, at most.
        drawn: take drawn pictures also for the photographs.
    """
    result = Result()
    records, data = (shapes_records(200, SIZE), f"200 drawn images of {SIZE} px") if drawn else photographs()
    has_raccoon, has_zoo = RACCOON.is_dir() and not drawn, ZOO.with_name("ckpt-0.index").is_file()
    BENCH.mkdir(exist_ok=True)
    with scratch() as folder:
        say("  training on drawn shapes")
        shapes = train(
            folder / "shapes",
            shapes_records(900, SHAPES_SIZE),
            SHAPES_SIZE,
            shapes_steps,
            ("tflite_int8",),
            "optimizer: adamw\naugmentations: [horizontal_flip]\n",
        )
        say(f"  training on {data}")
        formats = ("tflite_float32", "tflite_int8", "tfjs_float32")
        trained = train(folder / "photographs", records, SIZE, photograph_steps, formats, "optimizer: adamw\n")
        result.notes.append(
            f"The detectors are trained from random weights with AdamW and otherwise Boxcar's defaults: {shapes_steps} steps "
            f"on 900 drawn shapes at {SHAPES_SIZE} px, and {photograph_steps} steps on {data} at {SIZE} px. `boxcar freeze` "
            f"and `boxcar convert` export them. Each side is timed in its own process, {repetitions} times, alternating, on up "
            f"to {pictures} test images each time. The figure is the median over all of them."
        )
        exports_tflite.time_int8(result, trained, repetitions, pictures)
        exports_tflite.score_int8(result, "drawn shapes, their test split", shapes, ("test",))
        if has_raccoon:
            all_of_them = ("train", "validation", "test")
            exports_tflite.score_int8(result, "raccoon, all 200 photographs", trained, all_of_them)
        else:
            result.notes.append("The row on raccoon is missing: BOXCAR_SHARED names no folder with datasets/raccoon.")
        if has_zoo:
            zoo = Detector(folder / "zoo", records)
            zoo.freeze(ARCHITECTURE, ZOO)
            zoo.convert_to_tfjs()
            exports_tfjs.compare(result, "the zoo's checkpoint, 90 classes", zoo, repetitions, pictures)
        else:
            result.notes.append("The rows on the zoo's checkpoint are missing: BOXCAR_SHARED names no folder with zoo.")
        count = len(trained.specification().labels)
        exports_tfjs.compare(result, f"trained here, {count} class{'es' * (count > 1)}", trained, repetitions, pictures)
        exports_tfjs.explain(result)
        exports_saved_model.compare_retinanet(result, folder, records, repetitions, max(pictures // 6, 1))
        if has_zoo:
            exports_saved_model.compare_mobilenet(result, folder, records, ZOO, repetitions, max(pictures // 6, 1))
    return result
