"""The names in a run's folder, written here and nowhere else.

    config.yaml  run.json  failure.json  decision.json  .lock  .stop.json  .evaluator.log
    records/             dataset.json  box_shapes.json  label_map.pbtxt  index.html  <split>-00000-of-00004.tfrecord
    train/               status.json  history.jsonl  ckpt-<step>.index, .data-*, .json  event files
    eval/                scores.jsonl  test.json  confusion.json  curves.json  verdict.json  event files
    export/              manifest.json  sbom.cdx.json  tflite/  tfjs/
    export/saved_model/  what `boxcar freeze` writes
    report/              index.html

A finished step's folder contains `step.json`. A folder that is being written contains `.unfinished`.
"""

import re
from typing import Literal, get_args

RECORDS = "records"
TRAIN = "train"
EVAL = "eval"
EXPORT = "export"
SAVED_MODEL = "export/saved_model"
REPORT = "report"
# The steps whose results the report shows, in their order, with their folders.
STEPS = {"records": RECORDS, "train": TRAIN, "evaluate": EVAL, "freeze": SAVED_MODEL, "convert": EXPORT}
# What `boxcar run` does, in order; it may end early after one of these. `train` includes the evaluation.
LastStep = Literal["records", "train", "freeze", "convert", "report"]
RUN_STEPS: tuple[LastStep, ...] = get_args(LastStep)
OPEN = (TRAIN, EVAL)  # may be read before they are finished; they hold TensorBoard's event files

# In the run's folder.
CONFIGURATION = "config.yaml"  # what the run was started with
RUN_FILE = "run.json"  # written at the end, for scripts
FAILURE = "failure.json"  # why the run stopped; removed by the next success
DECISION = "decision.json"  # the gate's, in the run of the version that was held to it
LOCK = ".lock"  # held by the process that works on the run
STOP = ".stop.json"  # asks the trainer to save a checkpoint and end
EVALUATOR_LOG = ".evaluator.log"
# Everything that Boxcar writes there. Other files belong to a person and are not removed.
RUN_NAMES = frozenset(
    [CONFIGURATION, RUN_FILE, FAILURE, DECISION, LOCK, STOP, EVALUATOR_LOG, RECORDS, TRAIN, EVAL, EXPORT, REPORT]
)

# In every step's folder.
COMMIT = "step.json"  # written last: the step is finished
UNFINISHED = ".unfinished"  # from the step's start until `step.json` is there

# In the folders of the steps.
DATASET = "dataset.json"
BOX_SHAPES = "box_shapes.json"
LABEL_MAP = "label_map.pbtxt"
STATUS = "status.json"  # the trainer's heartbeat
HISTORY = "history.jsonl"
SCORES = "scores.jsonl"  # one line per scored checkpoint
TEST_SCORES = "test.json"  # of the chosen checkpoint
CONFUSION = "confusion.json"
CURVES = "curves.json"
VERDICT = "verdict.json"  # how an evaluator that is a sidecar ended
MANIFEST = "manifest.json"
SBOM = "sbom.cdx.json"  # CycloneDX asks for this ending
TFLITE = "tflite"
TFJS = "tfjs"
PAGE = "index.html"

CHECKPOINT_MARKER = re.compile(r"ckpt-(\d+)\.json")  # written last: the checkpoint is complete
CHECKPOINT_FILE = re.compile(r"(?:.*/)?ckpt-\d+\.")
EVENTS = "events.out.tfevents."  # the beginning of the names of TensorBoard's files

# In other folders.
DRAWINGS = ".boxcar-detections"  # in a folder of images that `boxcar detect` has drawn boxes on
DRAWINGS_FOLDER = "detections"  # the name of that folder, if no other is given
SIGNATURE = "model.sig"  # in a signed folder; covers all other files there
IMAGE = "BOXCAR_IMAGE"  # the environment variable with the reference of the container image
PIPELINE_VERSION = "BOXCAR_PIPELINE_VERSION"  # the environment variable with a pipeline's name and version


def checkpoint_name(step: int) -> str:
    """The name of a checkpoint's files, without their suffixes."""
    return f"ckpt-{step}"
