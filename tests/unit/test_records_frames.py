"""Images that EXIF turns, with labels that fit the image as it is shown and as it is stored: what other labels say decides."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import via_images, via_region
from labelled import data_set, label, picture, save
from PIL import Image, ImageChops, ImageOps

from boxcar.data.example import read_examples
from boxcar.data.pixels import decode_picture
from boxcar.records import build_records, convert_labels

SQUARE, WIDE = (64, 64), (64, 48)


def _photo(path: Path, orientation: int, size: tuple[int, int], labeled: str, sized: bool = True) -> tuple[int, ...]:
    """Saves an image with a red corner and its XML, labeled as it is shown or as it is stored; the box."""
    image = ImageChops.blend(picture(path.stem, size), Image.new("RGB", size, "blue"), 0.7)
    image.paste("red", (2, 4, 26, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(path, image, exif=exif, quality=95)
    with Image.open(path) as opened:
        seen = ImageOps.exif_transpose(opened) if labeled == "shown" else opened
        red = np.asarray(seen.convert("RGB")).astype(int)
    rows, columns = np.nonzero((red[..., 0] > 200) & (red[..., 2] < 60))
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    label(path.with_suffix(".xml"), seen.size if sized else None, [("cat", *box)])
    return box


def _reds(records: Path) -> dict[str, float]:
    """Of each image with a red corner, how much of its box is red."""
    found = {}
    for example in read_examples(sorted(records.glob("*.tfrecord"))):
        name = Path(example.filename).name
        if name.startswith("p"):  # of `data_set`
            continue
        pixels = decode_picture(example).astype(int)
        ymin, xmin, ymax, xmax = np.round(example.boxes[0] * ([example.height, example.width] * 2)).astype(int)
        part = pixels[ymin:ymax, xmin:xmax]
        found[name] = float(((part[..., 0] > 150) & (part[..., 2] < 100)).mean())
    return found


def _built(data: Path) -> tuple[dict[str, float], list[str], dict[str, Any]]:
    build_records(str(data), str(data.parent / "out"))
    dataset = json.loads((data.parent / "out" / "dataset.json").read_text())
    return _reds(data.parent / "out"), [text for text in dataset["warnings"] if "EXIF" in text], dataset


@pytest.mark.parametrize("labeled", ["shown", "stored"])
def test_labels_that_tell_the_frame_decide_for_those_that_do_not(tmp_path: Path, labeled: str) -> None:
    data = data_set(tmp_path / "data", 6)
    _photo(data / "tells.jpg", 6, WIDE, labeled)
    for orientation in (2, 3, 4):
        _photo(data / f"wide{orientation}.jpg", orientation, WIDE, labeled)
    for orientation in (2, 3, 6):
        _photo(data / f"square{orientation}.jpg", orientation, SQUARE, labeled)
    _photo(data / "sizeless.jpg", 8, WIDE, labeled, sized=False)
    save(data / "coded.png", Image.open(data / "wide3.jpg"), exif=Image.open(data / "wide3.jpg").getexif())
    (data / "coded.xml").write_text((data / "wide3.xml").read_text())
    reds, warnings, _ = _built(data)
    assert len(reds) == 9
    assert min(reds.values()) > 0.8, reds
    if labeled == "stored":
        (warning,) = warnings
        assert "8 images (coded.png, sizeless.jpg, square2.jpg, ...)" in warning
    else:
        assert not warnings


@pytest.mark.parametrize("others", [[], ["shown", "stored"]])
def test_without_an_answer_the_image_is_taken_as_it_is_shown_and_named(tmp_path: Path, others: list[str]) -> None:
    data = data_set(tmp_path / "data", 6)
    for labeled in others:
        _photo(data / f"{labeled}.jpg", 6, WIDE, labeled)
    _photo(data / "half.jpg", 3, WIDE, "shown")
    reds, (warning,), _ = _built(data)
    assert min(reds.values()) > 0.8, reds
    assert warning.startswith("1 image (half.jpg) has an EXIF orientation")
    assert warning.removesuffix(".") in (tmp_path / "out" / "index.html").read_text()


def test_the_labels_of_the_same_folder_come_first(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 6)
    for folder, labeled in (("a", "stored"), ("b", "shown")):
        _photo(data / folder / f"{folder}tells.jpg", 6, WIDE, labeled)
        _photo(data / folder / f"{folder}half.jpg", 3, WIDE, labeled)
    _photo(data / "c" / "chalf.jpg", 3, WIDE, "shown")
    reds, warnings, _ = _built(data)
    assert min(reds.values()) > 0.8, reds
    assert {"ahalf.jpg" in text or "chalf.jpg" in text for text in warnings} == {True} and len(warnings) == 2


def test_a_box_that_fits_in_one_frame_only_tells_it(tmp_path: Path) -> None:
    data, content = data_set(tmp_path / "source", 6), {}
    boxes = {"half": _photo(data / "half.jpg", 3, WIDE, "stored"), "tells": _photo(data / "tells.jpg", 8, WIDE, "stored")}
    for path in data.glob("*.jpg"):
        xmin, ymin, xmax, ymax = boxes.get(path.stem, (8, 6, 40, 30))
        regions = [via_region({"class": "cat"}, x=xmin, y=ymin, width=xmax - xmin, height=ymax - ymin)]
        if path.stem == "tells":
            regions.append(via_region({"class": "cat"}, x=52, y=2, width=12, height=40))  # beyond the 48 of the shown image
        content[path.name] = regions
    for path in data.glob("*.xml"):
        path.unlink()
    (data / "via.json").write_text(json.dumps(via_images(content)))
    reds, warnings, _ = _built(data)
    assert min(reds.values()) > 0.8, reds
    assert len(warnings) == 1 and "2 images (half.jpg, tells.jpg)" in warnings[0]


def test_the_version_covers_the_frame(tmp_path: Path) -> None:
    versions = set()
    for labeled in ("shown", "stored"):
        data = data_set(tmp_path / labeled / "data", 6)
        _photo(data / "half.jpg", 3, WIDE, "stored")
        # The same image and boxes in either set: only the size in this label differs.
        _photo(data / "tells.jpg", 6, WIDE, "stored")
        label(data / "tells.xml", WIDE if labeled == "stored" else WIDE[::-1], [("cat", 2, 4, 26, 16)])
        versions.add(_built(data)[2]["version"])
    assert len(versions) == 2


def test_converted_labels_mean_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = data_set(tmp_path / "source", 6)
    _photo(data / "tells.jpg", 6, WIDE, "stored")
    _photo(data / "half.jpg", 3, WIDE, "stored")
    convert_labels(str(data), str(tmp_path / "data"), "coco")
    assert "half.jpg" in capsys.readouterr().err
    reds, warnings, _ = _built(tmp_path / "data")
    assert len(reds) == 2 and min(reds.values()) > 0.8, reds
    assert not warnings


@pytest.mark.parametrize("labeled", ["shown", "stored"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_as_any_image_is(tmp_path: Path, orientation: int, labeled: str) -> None:
    """Pillow gives the size of a TIFF as it is shown, and that of a JPEG as it is stored."""
    data = data_set(tmp_path / "data", 6)
    jpeg = tmp_path / "as.jpg"
    _photo(jpeg, orientation, WIDE, labeled)
    jpeg.with_suffix(".xml").rename(data / "tif.xml")
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(jpeg) as opened:
        Image.fromarray(np.asarray(opened)).save(data / "tif.tif", exif=exif)
    if orientation in (2, 3, 4):  # its size does not tell
        _photo(data / "tells.jpg", 6, WIDE, labeled)
    reds, _, dataset = _built(data)
    assert dataset["faults"] == [] and reds["tif.tif"] > 0.9
    for example in read_examples(sorted((tmp_path / "out").glob("*.tfrecord"))):
        assert decode_picture(example).shape[:2] == (example.height, example.width)
