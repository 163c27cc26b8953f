"""Scores every checkpoint of a run on its test split; prints each one's step, time of writing, AP50, and AP. A child of
learning.py.

Usage: learning_child.py RUN
"""

import json
import sys
from pathlib import Path

from boxcar.evaluation.scorer import Scorer
from boxcar.inference.specification import read_specification
from boxcar.run.checkpoints import list_checkpoints, marker_path


def main() -> None:
    run = Path(sys.argv[1])
    scorer = Scorer(read_specification(run / "train"))
    test = scorer.load(run / "records", "test")
    found = []
    for checkpoint in list_checkpoints(run / "train"):
        scorer.restore(checkpoint)
        scores, _ = scorer.score(test)
        written = marker_path(run / "train", checkpoint.step).stat().st_mtime
        found.append({"step": checkpoint.step, "written": written, "AP50": scores["AP50"], "AP": scores["AP"]})
    print(json.dumps({"checkpoints": found}))


if __name__ == "__main__":
    main()
