"""Takes a file that the real converter wrote, spoils it, and hands it on. `python -m spoiling_converter HOW SOURCE TARGET`.

Or converts for real, with pixels of the wrong range to calibrate on: `... range KIND FROZEN RECORDS FOLDER`.
"""

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

from boxcar.export.children import run_as_child


def swap_outputs(source: Path, target: Path) -> None:
    """Of detections: classes and scores change places. Of raw heads: their names do."""
    content, files = _taken_apart(source)
    model = _read(content)
    outputs, signature = model.subgraphs[0].outputs, model.signatureDefs[0]
    if len(outputs) == 4:
        outputs[1], outputs[2] = outputs[2], outputs[1]
    else:
        one, other = signature.outputs
        one.tensorIndex, other.tensorIndex = other.tensorIndex, one.tensorIndex
    _write(model, files, target)


def other_labels(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
        model = json.loads((target / "model.json").read_text())
        model["userDefinedMetadata"]["labels"]["2"] = "hexagon"
        (target / "model.json").write_text(json.dumps(model))
    else:
        content, files = _taken_apart(source)
        _write(_read(content), files | {"labels.txt": "circle\nhexagon\ntriangle\n"}, target)


def other_provenance(source: Path, target: Path) -> None:
    content, files = _taken_apart(source)
    provenance = json.loads(files["provenance.json"]) | {"dataset_version": "of another"}
    _write(_read(content), files | {"provenance.json": json.dumps(provenance)}, target)


def calibrate_on_another_range(kind: str, frozen: str, records: str, folder: str) -> None:
    import boxcar.export.tflite_child as child

    preprocess = child.preprocess
    child.preprocess = lambda image, described: (preprocess(image, described) + 1) * 127.5  # type: ignore[attr-defined]
    child.check_value_range = lambda pixels, described: None  # type: ignore[attr-defined]
    child.convert([kind], Path(frozen), Path(records), Path(folder), 100, "float32")


def _taken_apart(path: Path) -> tuple[bytes, dict[str, str]]:
    with zipfile.ZipFile(path) as archive:
        start = min(entry.header_offset for entry in archive.infolist())
        return path.read_bytes()[:start], {name: archive.read(name).decode() for name in archive.namelist()}


def _read(content: bytes) -> Any:
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def _write(model: Any, files: dict[str, str], target: Path) -> None:
    from ai_edge_litert.tools import flatbuffer_utils

    target.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    with zipfile.ZipFile(target, "a") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def main() -> None:
    how, *arguments = sys.argv[1:]
    if how == "range":
        calibrate_on_another_range(*arguments)
    else:
        {"outputs": swap_outputs, "labels": other_labels, "provenance": other_provenance}[how](*map(Path, arguments))


if __name__ == "__main__":
    run_as_child(main)
