"""Files that were spoiled after the real converter wrote them: the step fails, names them, and leaves nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from exported import ExportedRun
from whole_run import WholeRun

from boxcar.config.conversion_settings import Conversion
from boxcar.data.example import read_examples
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export import convert, converting
from boxcar.export.children import Child
from boxcar.export.converting import place_of
from boxcar.export.sampling import find_shards


def _convert_spoiled(
    run: ExportedRun, output: Path, patch: pytest.MonkeyPatch, ways: Mapping[str, str], **settings: Any
) -> BoxcarError:
    """What the step says where each format's file was spoiled in its way."""
    patch.setenv("PYTHONPATH", str(Path(__file__).parent))

    def child(kind: str, frozen: Path, records: Path, work: Path) -> Child:
        if ways[kind] == "range":
            arguments = ("range", kind, str(frozen), str(records), str(work))
        else:
            arguments = (ways[kind], str(run.export / place_of(kind)), str(work / kind))
        return Child(kind, "spoiling_converter", arguments, 600.0)

    patch.setattr(converting, "_children", lambda kinds, *places: [child(kind, *places[:3]) for kind in kinds])
    with pytest.raises(BoxcarError) as caught:
        convert(str(run.frozen), str(run.records), str(output), Conversion(formats=tuple(ways), **settings))
    assert not output.exists()
    return caught.value


@pytest.mark.parametrize("kind", ["tfjs_float32", pytest.param("tflite_int8_nms", marks=pytest.mark.slow)])
def test_other_labels_inside(exported_run: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    error = _convert_spoiled(exported_run, tmp_path / "export", monkeypatch, {kind: "labels"})
    assert error.code == ExitCode.NO
    assert place_of(kind) in error.what
    ((place, limit, reason),) = [line.split(maxsplit=2) for line in error.details[1:]]
    assert (place, limit) == (place_of(kind), "labels")
    assert all(word in reason for word in ("id 2", "hexagon", "square"))


def _said(error: BoxcarError) -> dict[str, dict[str, str]]:
    """What the table says of each file, by the limit that it broke."""
    assert error.code == ExitCode.NO
    said: dict[str, dict[str, str]] = {}
    for line in error.details[1:]:
        place, limit, rest = line.split(maxsplit=2)
        said.setdefault(place, {})[limit] = rest
    return said


def _images(run: ExportedRun) -> set[str]:
    """The names of those that files are compared on."""
    shards = [shard for split in ("test", "validation") for shard in find_shards(run.records, split)]
    return {example.filename for example in read_examples(shards)}


@pytest.mark.slow
def test_another_provenance(exported_run: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No person's file can be of another model right after its conversion: that would be a defect."""
    error = _convert_spoiled(exported_run, tmp_path / "export", monkeypatch, {"tflite_int8_nms": "provenance"})
    assert error.code == ExitCode.DEFECT
    assert "tflite_int8_nms" in error.what and "is of another" in error.what


@pytest.mark.slow
def test_swapped_outputs(exported_run: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"tflite_float32": "outputs", "tflite_float32_nms": "outputs"}
    said = _said(_convert_spoiled(exported_run, tmp_path / "export", monkeypatch, ways))
    assert set(said) == {place_of(kind) for kind in ways}
    broken = said[place_of("tflite_float32")]["raw_difference"].split()
    assert broken[1:4] == ["at", "most", "0.001"]
    assert broken[-1] in _images(exported_run)
    assert said[place_of("tflite_float32_nms")]["answers"].split()[-1] in _images(exported_run)


@pytest.mark.slow
def test_int8_that_was_calibrated_on_another_range(
    whole_run: WholeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ExportedRun(whole_run.folder)
    # Whatever AP50 it costs, it is not made again: that would take the right range.
    held = {"limits": {"ap50_loss": 1}, "int8_max_drop": 1}
    said = _said(_convert_spoiled(run, tmp_path / "export", monkeypatch, {"tflite_int8": "range"}, **held))
    broken = said[place_of("tflite_int8")]
    assert broken and any(words.split()[-1] in _images(run) for words in broken.values()), broken
