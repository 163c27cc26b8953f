"""Scores an exported file on labeled pictures with Boxcar's runner; prints AP50 and AP as JSON. A child of exports_tflite.py.

Usage: exports_scores_child.py FILE RECORDS SPLIT...
"""

import json
import sys
from pathlib import Path

from boxcar.data.example import read_examples
from boxcar.data.ground_truth import ground_truth_of
from boxcar.export.sampling import decode_picture, find_shards
from boxcar.inference.open_runner import open_runner
from boxcar.scoring import score


def main() -> None:
    file, records, splits = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    truths, found = [], []
    with open_runner(file) as runner:
        for split in splits:
            for example in read_examples(find_shards(records, split)):
                found.append(runner.detect(decode_picture(example)))
                truths.append(ground_truth_of(example))
        scores = score(truths, found, runner.specification.labels)
    print(json.dumps({"pictures": len(truths), "AP50": scores["AP50"], "AP": scores["AP"]}))


if __name__ == "__main__":
    main()
