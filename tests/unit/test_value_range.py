"""A detector with another value range, from its description to exported files: nothing but the description says what it is."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exported import ARCHITECTURE, ExportedRun, write_checkpoint
from PIL import Image

from boxcar.config.conversion_settings import Conversion
from boxcar.data.example import read_examples
from boxcar.export import convert, freeze
from boxcar.inference.open_runner import open_runner
from boxcar.inference.specification import SPECIFICATION, read_specification
from boxcar.run.layout import MANIFEST

SCRIPT = Path(__file__).parents[2] / "examples" / "raspberry_pi" / "detect.py"


@pytest.mark.slow
def test_another_range_reaches_every_file(exported_run: ExportedRun, tmp_path: Path) -> None:
    """Float files must equal the SavedModel to be exported at all; INT8's range is measured on pixels of this range."""
    train, frozen, export = tmp_path / "train", tmp_path / "export" / "saved_model", tmp_path / "export"
    checkpoint = write_checkpoint(train, read_specification(exported_run.frozen).labels, seed=1)
    described = json.loads((train / SPECIFICATION).read_text()) | {"value_range": [0.0, 255.0]}
    (train / SPECIFICATION).write_text(json.dumps(described))
    freeze(ARCHITECTURE, str(checkpoint), str(frozen))
    formats = ("tflite_float32", "tflite_int8", "tfjs_float32")
    convert(str(frozen), str(exported_run.records), str(export), Conversion(formats=formats, int8_input="uint8"))
    entries = {entry["format"]: entry for entry in json.loads((export / MANIFEST).read_text())["files"]}
    assert all(entries[kind]["agrees"] for kind in ("tflite_float32", "tfjs_float32"))
    assert [tensor["dtype"] for tensor in entries["tflite_int8"]["inputs"]] == ["uint8"]
    metadata = json.loads((export / "tfjs" / "float32" / "model.json").read_text())["userDefinedMetadata"]
    assert metadata["normalization"] == {"mean": 0, "std": 1}
    example = next(iter(read_examples(sorted(exported_run.records.glob("test-*.tfrecord")))))
    image = tmp_path / "0.png"
    Image.open(io.BytesIO(example.encoded)).save(image)
    for file in ("detector_float32.tflite", "detector_int8.tflite"):
        model = export / "tflite" / file
        command = [sys.executable, SCRIPT, model, image, "--threads", "1", "--json", tmp_path / "found.json"]
        subprocess.run([str(part) for part in command], check=True)
        found = json.loads((tmp_path / "found.json").read_text())[0]["detections"]
        with open_runner(model, threads=1) as runner:
            wanted = runner.detect(np.asarray(Image.open(image)))
        assert len(wanted.scores) > 10
        np.testing.assert_allclose([one["score"] for one in found], wanted.scores, atol=1e-5)
