"""Times a TFLite file with Boxcar's runner; prints milliseconds of each picture as JSON. A child of exports_tflite.py.

Usage: exports_tflite_child.py FILE RECORDS THREADS PICTURES
"""

import json
import sys
import time
from pathlib import Path

from boxcar.export.sampling import sample_images
from boxcar.inference.open_runner import open_runner
from boxcar.inference.preprocessing import preprocess
from boxcar.inference.runner import HeadsRunner

WARM_UP = 5  # answers before any is timed


def main() -> None:
    file, records, threads, pictures = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    network, detections = [], []
    with open_runner(file, threads) as runner:
        assert isinstance(runner, HeadsRunner), runner
        pixels = [preprocess(picture, runner.specification) for _, picture in sample_images(records, "test", pictures)]
        for one in (pixels * WARM_UP)[:WARM_UP]:
            runner.find(one)
        for one in pixels:
            started = time.perf_counter()
            heads = runner.heads(one)
            computed = time.perf_counter()
            runner.decode(heads)
            network.append((computed - started) * 1000)
            detections.append((time.perf_counter() - started) * 1000)
    print(json.dumps({"network": network, "detections": detections}))


if __name__ == "__main__":
    main()
