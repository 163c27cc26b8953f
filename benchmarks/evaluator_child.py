"""Scores a checkpoint twice with Boxcar's evaluator; prints the second time's seconds and scores. A child of evaluator.py.

Usage: evaluator_child.py RUN SPLIT
"""

import json
import sys
import time
from pathlib import Path

from boxcar.evaluation.scorer import Scorer
from boxcar.inference.specification import read_specification
from boxcar.run.checkpoints import list_checkpoints


def main() -> None:
    run, split = Path(sys.argv[1]), sys.argv[2]
    checkpoint = list_checkpoints(run / "train")[-1]
    scorer = Scorer(read_specification(run / "train"))
    pictures = scorer.load(run / "records", split)
    for _ in range(2):  # a process's first time is slower
        started = time.perf_counter()
        scorer.restore(checkpoint)
        scores, _ = scorer.score(pictures)
        seconds = time.perf_counter() - started
    print(json.dumps({"pictures": len(pictures.truths), "seconds": seconds, "AP": scores["AP"], "AP50": scores["AP50"]}))


if __name__ == "__main__":
    main()
