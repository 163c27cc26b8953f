"""Files that were spoiled after the real converter wrote them: the step fails, names them, and leaves nothing."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from exported import ExportedRun

from boxcar.config.conversion import Conversion
from boxcar.data.example import read_examples
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export import convert, selective, verdict
from boxcar.export.children import Child
from boxcar.export.conversion import place_of
from boxcar.export.pictures import find_shards

convert_module = __import__("boxcar.export.conversion", fromlist=["convert"])


def _convert_spoiled(run: ExportedRun, output: Path, patch: pytest.MonkeyPatch, ways: Mapping[str, str]) -> BoxcarError:
    """What the step says where each format's file was spoiled in its way."""
    patch.setenv("PYTHONPATH", str(Path(__file__).parent))

    def child(kind: str, frozen: Path, records: Path, work: Path, conversion: Conversion) -> Child:
        if ways[kind] == "range":
            arguments = ("range", kind, str(frozen), str(records), str(work / kind))
        else:
            arguments = (ways[kind], str(run.export / place_of(kind)), str(work / kind))
        return Child(kind, "spoiling_converter", arguments, 120.0)

    patch.setattr(convert_module, "_child", child)
    with pytest.raises(BoxcarError) as caught:
        convert(str(run.frozen), str(run.records), str(output), Conversion(formats=tuple(ways)))
    assert not output.exists()
    return caught.value


@pytest.mark.parametrize("kind", ["tfjs_float32", pytest.param("tflite_int8_nms", marks=pytest.mark.slow)])
def test_other_labels_inside(exported_run: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    error = _convert_spoiled(exported_run, tmp_path / "export", monkeypatch, {kind: "labels"})
    assert error.code == ExitCode.NO
    assert error.what == f"{place_of(kind)} does not agree with the SavedModel."
    reason = "id 2 is hexagon by the labels inside it, and square by its detector.json"
    assert error.details[0].split() == ["file", "limit", "found", "allowed", "worst", "picture"]
    assert [line.split(maxsplit=2) for line in error.details[1:]] == [[place_of(kind), "labels", reason]]


@pytest.mark.slow
def test_swapped_outputs_and_a_wrong_range_and_another_provenance(
    exported_run: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict, "JUDGEABLE_AP50", -1.0)  # so that INT8 is judged by its boxes, without training a model
    # It would be made anew from the true SavedModel, and the right pictures, and be in order.
    monkeypatch.setattr(selective, "loses_too_much", lambda found, conversion: False)
    ways = {
        "tflite_float32": "outputs",
        "tflite_int8": "range",
        "tflite_float32_nms": "outputs",
        "tflite_int8_nms": "provenance",
    }
    error = _convert_spoiled(exported_run, tmp_path / "export", monkeypatch, ways)
    assert error.code == ExitCode.NO
    said: dict[str, dict[str, str]] = {}
    for line in error.details[1:]:
        place, limit, rest = line.split(maxsplit=2)
        said.setdefault(place, {})[limit] = rest
    assert set(said) == {place_of(kind) for kind in ways}
    pictures = {example.filename for example in read_examples(find_shards(exported_run.records, "test"))}
    pictures |= {example.filename for example in read_examples(find_shards(exported_run.records, "validation"))}
    broken = said[place_of("tflite_float32")]
    assert broken["raw_difference"].split()[1:4] == ["at", "most", "0.001"]
    assert broken["raw_difference"].split()[-1] in pictures
    broken = said[place_of("tflite_int8")]
    assert broken["matched"].split()[-1] in pictures
    broken = said[place_of("tflite_float32_nms")]
    assert "outputs are not boxes, classes, scores and their count, in this order" in broken["answers"]
    assert broken["answers"].split()[-1] in pictures
    assert "the provenance inside it is not that of the SavedModel" in said[place_of("tflite_int8_nms")]["provenance"]
