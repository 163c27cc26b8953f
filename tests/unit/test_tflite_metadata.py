"""What stands inside the TFLite files, read back by means that share no code with what wrote it."""

import json
import zipfile
from pathlib import Path

import pytest
from exported import ARCHITECTURE, IMAGE_SIZE, ExportedRun
from flatbuffer_table import Table

KINDS = ("float32", "int8", "float32_nms", "int8_nms")
LABELS = "circle\nsquare\ntriangle\n"

# Numbers of fields in tensorflow/lite/schema/schema.fbs.
SUBGRAPHS, BUFFERS, METADATA, SIGNATURES = 2, 4, 6, 7  # of Model
TENSORS, INPUTS, OUTPUTS = 0, 1, 2  # of SubGraph


def _file(run: ExportedRun, kind: str) -> Path:
    return run.export / "tflite" / f"detector_{kind}.tflite"


def _model(run: ExportedRun, kind: str) -> Table:
    return Table.root(_file(run, kind).read_bytes(), b"TFL3")


def _metadata(model: Table) -> Table:
    entries = [entry for entry in model.tables(METADATA) if entry.text(0) == "TFLITE_METADATA"]
    assert len(entries) == 1
    return Table.root(model.tables(BUFFERS)[entries[0].number(1, "I")].data(0), b"M001")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_files_that_lie_behind_the_model(exported_run: ExportedRun, kind: str) -> None:
    with zipfile.ZipFile(_file(exported_run, kind)) as archive:
        assert archive.testzip() is None
        # Readers on phones take the bytes as they lie there.
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        found = {name: archive.read(name).decode() for name in archive.namelist()}
    slots = {} if kind.endswith("nms") else {"class_slots.txt": f"background\n{LABELS}"}
    provenance = (exported_run.frozen / "saved_model" / "assets" / "provenance.json").read_text()
    assert found == {"labels.txt": LABELS, "provenance.json": provenance} | slots


def test_the_model(exported_run: ExportedRun, kind: str) -> None:
    metadata = _metadata(_model(exported_run, kind))
    assert metadata.text(0) == f"{ARCHITECTURE}, {IMAGE_SIZE} x {IMAGE_SIZE}"
    assert metadata.text(1) == "Finds objects in pictures: circle, square, triangle."
    provenance = json.loads((exported_run.export / "manifest.json").read_text())["provenance"]
    assert metadata.text(2) == provenance["checkpoint_sha256"][:12]
    assert metadata.text(4) == f"Boxcar {provenance['code_version']}"
    assert metadata.text(7) == "1.2.0"
    assert len(metadata.tables(3)) == 1
    named = {file.text(0): file.number(2, "b") for file in metadata.tables(6)}
    assert named == {"provenance.json": 1} | ({} if kind.endswith("nms") else {"labels.txt": 1})


def test_the_input(exported_run: ExportedRun, kind: str) -> None:
    (picture,) = _metadata(_model(exported_run, kind)).tables(3)[0].tables(2)
    assert picture.text(0) == "image"
    content = picture.table(3)
    assert content.number(0, "B") == 2  # ImageProperties
    image = content.table(1)
    assert image.number(0, "b") == 1  # RGB
    assert [image.table(1).number(side, "I") for side in (0, 1)] == [IMAGE_SIZE, IMAGE_SIZE]
    (unit,) = picture.tables(4)
    assert unit.number(0, "B") == 1  # NormalizationOptions
    assert [unit.table(1).numbers(field, "f") for field in (0, 1)] == [[127.5], [127.5]]
    assert [picture.table(5).numbers(field, "f") for field in (0, 1)] == [[1.0], [-1.0]]


@pytest.mark.parametrize("kind", KINDS[:2])
def test_raw_heads(exported_run: ExportedRun, kind: str) -> None:
    model = _model(exported_run, kind)
    described = _metadata(model).tables(3)[0].tables(3)
    (signature,) = model.tables(SIGNATURES)
    assert signature.text(2) == "heads"
    named = {entry.number(1, "I"): entry.text(0) for entry in signature.tables(1)}
    # Three classes and background: by their shapes the two could not be told apart.
    assert [output.text(0) for output in described] == [
        named[index] for index in model.tables(SUBGRAPHS)[0].numbers(OUTPUTS, "i")
    ]
    by_name = {output.text(0): output for output in described}
    files = by_name["class_logits"].tables(6)
    assert [(file.text(0), file.number(2, "b")) for file in files] == [("class_slots.txt", 2)]
    assert 6 not in by_name["box_encodings"]
    assert len({output.text(1) for output in described}) == 2


@pytest.mark.parametrize("kind", KINDS[2:])
def test_detections_as_the_task_library_looks_for_them(exported_run: ExportedRun, kind: str) -> None:
    model = _model(exported_run, kind)
    subgraph = _metadata(model).tables(3)[0]
    boxes, classes, scores, count = subgraph.tables(3)
    assert [output.text(0) for output in (boxes, classes, scores, count)] == [
        "location",
        "category",
        "score",
        "number of detections",
    ]
    content = boxes.table(3)
    assert content.number(0, "B") == 3  # BoundingBoxProperties
    assert content.table(1).numbers(0, "I") == [1, 0, 3, 2]
    assert content.table(1).number(1, "b") == 1  # BOUNDARIES
    assert content.table(1).number(2, "b") == 0  # RATIO
    for output in (boxes, classes, scores):
        extent = output.table(3).table(2)
        assert [extent.number(field, "i") for field in (0, 1)] == [2, 2]
    assert [output.table(3).number(0, "B") for output in (classes, scores, count)] == [1, 1, 1]  # FeatureProperties
    assert 2 not in count.table(3)
    assert [(file.text(0), file.number(2, "b")) for file in classes.tables(6)] == [("labels.txt", 3)]
    (group,) = subgraph.tables(8)
    assert group.text(0) == "detection_result"
    assert group.texts(1) == ["location", "category", "score"]
    # tflite-support's own writer gives the four names to the outputs' tensors in ascending order.
    outputs = model.tables(SUBGRAPHS)[0].numbers(OUTPUTS, "i")
    assert outputs == sorted(outputs)
    shapes = [model.tables(SUBGRAPHS)[0].tables(TENSORS)[index].numbers(0, "i") for index in outputs]
    assert shapes == [[1, 100, 4], [1, 100], [1, 100], [1]]
