"""The names in a run's folder, and the few other names that several parts of the product share."""

import re

CONFIGURATION = "config.yaml"  # what the run was begun with
RUN_FILE = "run.json"  # in a run's folder, written at its end for scripts
STEP = "step.json"  # in a step's folder, written last: the step is finished
BEGUN = ".unfinished"  # in a step's folder from its beginning until `step.json` is there
CHECKPOINT_MARKER = re.compile(r"ckpt-(\d+)\.json")  # beside a checkpoint, written last: the checkpoint is complete
SIGNATURE = "model.sig"  # in a signed folder, over all other files there
IMAGE = "BOXCAR_IMAGE"  # the variable in which an image finds its own reference, and exported files what they were made in
