"""Exports a detector as the Object Detection API's exporter_main_v2.py does. Runs in its environment.

FOLDER is laid out as the zoo's downloads are, and as `boxcar freeze` writes: `pipeline.config` and `checkpoint/`.

Usage: export.py FOLDER OUTPUT
"""

import sys
from pathlib import Path

import fixes  # noqa: F401  # first: it makes the API importable
from google.protobuf import text_format
from object_detection import exporter_lib_v2
from object_detection.protos import pipeline_pb2


def main() -> None:
    folder, output = Path(sys.argv[1]), sys.argv[2]
    configuration = pipeline_pb2.TrainEvalPipelineConfig()
    text_format.Merge((folder / "pipeline.config").read_text(), configuration)
    exporter_lib_v2.export_inference_graph("image_tensor", configuration, str(folder / "checkpoint"), output)


if __name__ == "__main__":
    main()
