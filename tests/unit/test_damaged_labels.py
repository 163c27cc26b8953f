"""Whatever is in label files, each reader gives sound boxes, faults, or a BoxcarError, soon and with little memory.

BOXCAR_FUZZ_INPUTS is the number of randomly damaged files of each format; 200,000 of each take 14 minutes of CPU time in all.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from example_bytes import example, floats, frame, integers, texts
from fuzzed import IMAGES, SEEDS, Found, read_folder

from boxcar.errors import BoxcarError

MOST_MEMORY = 300  # MB
INPUTS = os.environ.get("BOXCAR_FUZZ_INPUTS", "35000")
JSON = ("coco", "label-studio", "labelme", "via")
# What a side of a box, or the first number of its shape, looks like in the first seed.
SIDE = {
    "voc": b"<xmin>8<",
    "coco": b"[8, 6",
    "yolo": b"0 0.5",
    "csv": b"cat,8",
    "cvat": b'xtl="8"',
    "label-studio": b'"x": 10',
    "labelme": b"[8, 6]",
    "via": b'"x": 8',
}


def child(*words: str) -> None:
    """Runs a script of this folder, which prints the memory that it needed."""
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{here.parents[1]}:{here}"}
    command = [sys.executable, "-B", *words]
    answer = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert int(answer.stdout.split()[-1]) < MOST_MEMORY


def found(format: str, content: bytes | None = None, **others: bytes) -> Found | int:
    """What is found if the first label file has other content; the exit code if nothing can be read."""
    _, chosen, sound, _ = SEEDS[format]
    name, first = chosen[0]
    folder = dict.fromkeys(IMAGES, b"") | dict(sound) | {name: first if content is None else content}
    folder |= {".".join(name.rsplit("_", 1)): text for name, text in others.items()}
    try:
        return read_folder(format, folder)
    except BoxcarError as error:
        return int(error.code)


def first(format: str) -> bytes:
    return SEEDS[format].damaged[0][1]


@pytest.mark.parametrize("format", SEEDS)
def test_what_is_not_damaged_is_sound(format: str) -> None:
    for content in filter(None, (content for _, content in SEEDS[format].damaged[:2])):
        answer = found(format, content)
        assert isinstance(answer, Found)
        assert answer.boxes > 0 and not answer.kinds


@pytest.mark.slow
@pytest.mark.parametrize("format", SEEDS)
def test_random_damage(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    child("fuzzed.py", format, INPUTS, "1")


@pytest.mark.parametrize("format", SEEDS)
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_cut_files(format: str, share: float) -> None:
    content = first(format)
    answer = found(format, content[: int(len(content) * share)])
    complete = found(format)
    assert isinstance(complete, Found)
    # A table and a text file of YOLO may end after any line, and even after any digit.
    assert answer == 65 or (isinstance(answer, Found) and (answer.kinds or format in ("csv", "yolo")))
    assert isinstance(answer, int) or answer.boxes <= complete.boxes


@pytest.mark.parametrize("format", [name for name in SEEDS if name != "tfrecord"])
@pytest.mark.parametrize("encoding", ["latin-1", "cp037"])
def test_wrong_encodings(format: str, encoding: str) -> None:
    content = first(format).decode().replace("cat", "chät").replace("0.5", "0,5ä" if format == "yolo" else "0.5")
    answer = found(format, content.encode(encoding))
    assert answer in (64, 65) or (isinstance(answer, Found) and answer.kinds)


@pytest.mark.parametrize("format", SIDE)
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e308", "1e308", "1e999", "-9", "9" * 400, "9" * 5000, "x"])
def test_impossible_numbers(format: str, number: str) -> None:
    content, side = first(format), SIDE[format]
    assert side in content
    value = f'"{number}"' if format in JSON and number == "x" else number
    old = b"0.5" if format == "yolo" else b"8" if b"8" in side else b"10"
    answer, complete = found(format, content.replace(side, side.replace(old, value.encode()), 1)), found(format)
    assert isinstance(complete, Found)
    # Numbers of thousands of digits break the whole file in some formats.
    assert answer in (64, 65) or (isinstance(answer, Found) and answer.kinds and answer.boxes < complete.boxes)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -3e38, 3e38])
def test_impossible_numbers_in_records(number: float) -> None:
    features: dict[str, Any] = {f"image/object/bbox/{side}": (2, floats(0.5)) for side in ("xmax", "ymax")}
    features |= {"image/object/bbox/ymin": (2, floats(0.25)), "image/object/bbox/xmin": (2, floats(number))}
    labels = {"image/object/class/text": (1, texts(b"cat")), "image/object/class/label": (3, integers(1))}
    assert found("tfrecord", frame(example(**features, **labels))) in (
        Found(0, {"box_not_finite"}),
        Found(0, {"box_outside"}),
        Found(0, {"box_upside_down"}),
    )


@pytest.mark.parametrize("format", JSON)
@pytest.mark.parametrize("sign", ["[", '{"a":'])
def test_json_nested_100_000_deep(format: str, sign: str) -> None:
    content, side = first(format), SIDE[format]
    assert found(format, (sign * 100_000).encode()) in (64, 65, Found(0, {"broken_labels"}))
    answer = found(format, content.replace(side, side[:-1] + (sign * 100_000).encode(), 1))
    assert answer == 65 or (isinstance(answer, Found) and answer.kinds == {"broken_labels"})


@pytest.mark.parametrize("format", ["voc", "cvat"])
def test_xml_nested_100_000_deep(format: str) -> None:
    content = first(format)
    place = content.index(b"<object>" if format == "voc" else b"<image")
    answer = found(format, content[:place] + b"<a>" * 100_000 + b"</a>" * 100_000 + content[place:])
    assert isinstance(answer, Found) and (answer.boxes > 0 or answer.kinds == {"broken_labels"})


def _coco(**changes: Any) -> bytes:
    return json.dumps(json.loads(first("coco")) | changes).encode()


def test_ids_that_point_nowhere_and_categories_twice() -> None:
    box = {"id": 9, "image_id": 1, "category_id": 3, "bbox": [1, 1, 2, 2]}
    categories = [{"id": 3, "name": "cat"}, {"id": 4, "name": "cat"}]
    assert found("coco", _coco(annotations=[box | {"category_id": 77}])) == Found(0, {"unknown_id"})
    assert found("coco", _coco(annotations=[box | {"image_id": 77}])) == Found(0, {"unknown_id"})
    assert found("coco", _coco(categories=categories)) == 65
    assert found("coco", _coco(categories=[{"id": 3, "name": "cat"}, {"id": 3, "name": "dog"}])) == 65
    assert found("yolo", b"7 0.5 0.5 0.1 0.1", b_txt=b"") == Found(0, {"unknown_class"})
    assert found("yolo", data_yaml=b"names: {0: cat, 0: dog, 1: cow}\n") == 64
    assert found("tfrecord", label_map_pbtxt=b"item { id: 1 name: 'cat' } item { id: 1 name: 'dog' }") == 65
    assert found("tfrecord", label_map_pbtxt=b"item { id: 1 name: 'cow' }") == Found(0, {"unknown_class"})


@pytest.mark.slow
@pytest.mark.parametrize("format", SEEDS)
def test_a_million_objects_in_one_image(format: str, tmp_path: Path) -> None:
    child("million_objects.py", format, str(tmp_path))
