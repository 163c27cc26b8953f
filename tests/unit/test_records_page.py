"""The health page of the records: its parts, what it calls suspicious, and that nothing on it is taken for HTML."""

import json
import re
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
from labelled import Box, data_set, label, pair, picture, save, xml_text
from report_page import Page

from boxcar.records import build_records
from boxcar.records.annotation import LabeledObject
from boxcar.records.health import NEAR_COPY, near_copies_of, odd_octaves
from boxcar.records.health_outlines import outline_paths
from boxcar.records.health_page import OPEN_ROWS, percent
from boxcar.records.masks import mask_of
from boxcar.records.outline import Outline
from boxcar.records.summary_text import summary_lines


class _Page(Page):
    """With a space after the text of each element."""

    def handle_data(self, data: str) -> None:
        super().handle_data(f"{data} ")


def _page(output: Path) -> Page:
    return _Page((output / "index.html").read_text(encoding="utf-8"))


def _words(page: Page) -> str:
    return " ".join(page.text.split())


def _object(name: str, *box: float) -> LabeledObject:
    return LabeledObject(name, *box, 0, 0, "Unspecified")


def test_the_page_without_a_fault(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 20)
    made = build_records(str(data), str(tmp_path / "out"))
    page, words = _page(made.folder), _words(_page(made.folder))
    assert "index.html" in made.files
    assert f"Health page: {tmp_path / 'out' / 'index.html'}" in summary_lines(made.folder)
    assert "Labels: Pascal VOC, 20 files." in words
    assert "Images 20 Each shows a labeled object." in words
    assert "Boxes 20 Of 1 class." in words
    assert "Faults 0 Nothing was left out. Suspicious labels 0 None was found." in words
    assert [heading for heading in page.all("h2")] == [{"id": "splits"}, {"id": "boxes"}, {"id": "images"}]
    # 32 × 24 of 64 × 48 pixels are half the sides.
    assert "160 px 0%" in words
    assert "No box is under 16 px at 320 × 320 pixels, the default input." in words
    assert "100% of the boxes have their center in the middle quarter of the image." in words
    assert "All images have 64 × 48 pixels." in words
    assert page.all("image") == []


def test_the_page_needs_nothing_else_and_holds_no_script(tmp_path: Path) -> None:
    made = build_records(str(data_set(tmp_path / "data")), str(tmp_path / "out"))
    page = _page(made.folder)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    policy = next(meta for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    text = (made.folder / "index.html").read_text()
    assert "prefers-color-scheme: dark" in text
    assert "http://" not in text and "https://" not in text


def test_equal_data_gives_equal_bytes(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 14)
    label(data / "p3.xml", boxes=[("cat", 8, 6, 10, 8), ("dog", 8, 6, 40, 30), ("cat", 8, 6.2, 40, 30)])
    for name in ("one", "two"):
        build_records(str(data), str(tmp_path / name))
    assert (tmp_path / "one" / "index.html").read_bytes() == (tmp_path / "two" / "index.html").read_bytes()


def test_faults_are_grouped_and_the_rarest_come_first(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 10)
    for number in range(8):
        pair(data, f"far{number}", [("cat", 1, 1, 900, 900)])
    label(data / "<b>gone</b>.xml")
    save(data / "new.png", picture("new"))
    made = build_records(str(data), str(tmp_path / "out"), on_fault="skip")
    page, words = _page(made.folder), _words(_page(made.folder))
    assert {"id": "faults"} in page.all("h2")
    assert "Faults 10 Each with what was done about it." in words
    order = [words.index(kind) for kind in ("missing_picture", "unlabeled", "box_outside")]
    assert order == sorted(order)
    assert "far2.xml box 1 (cat) [1, 1, 900, 900] is outside the image of 64×48 and 5 more" in words
    assert "far3.xml" not in words
    assert "<b>gone</b>.xml" in words
    assert page.all("b") == []


def test_warnings_are_on_the_page(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 8)
    label(data / "p0.xml", boxes=[("<i>dog</i>".replace("<", "&lt;"), 1, 1, 30, 30), ("cat", 1, 1, 30, 20)])
    made = build_records(str(data), str(tmp_path / "out"))
    warnings = json.loads((made.folder / "dataset.json").read_text())["warnings"]
    words = _words(_page(made.folder))
    assert "The class <i>dog</i> has one example only." in warnings
    assert all(warning in words for warning in warnings)


HOSTILE = [
    "<script>alert(1)</script>",
    'a" onload="x',
    "'; drop",
    "{{ 7*7 }}",
    "{% raw %}",
    "日本語",
    "مرحبا",
    "&lt;",
    "می\u200cخواهم",
    "x" * 80 + "y",
]


def test_class_names_are_text(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 8)
    # Each twice, so that it is on a thumbnail too.
    boxes: list[Box] = [
        (escape(name), 1, 4 * number, xmax, 4 * number + 4) for number, name in enumerate(HOSTILE) for xmax in (30, 30.5)
    ]
    label(data / "p0.xml", boxes=boxes)
    made = build_records(str(data), str(tmp_path / "out"))
    page, words = _page(made.folder), _words(_page(made.folder))
    assert all(name in words for name in HOSTILE[:-1])
    assert "x" * 79 + "…" in words and "xy" not in words.partition("Suspicious labels They")[2]
    assert (
        page.all("script") == [] and page.all("b") == [] and not any("onload" in attributes for _, attributes in page.elements)
    )
    assert len(page.all("image")) == 10


def test_ninety_classes_stay_readable(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 8)
    label(data / "p0.xml", boxes=[(f"class {n}", n % 9 * 7, n // 9 * 4, n % 9 * 7 + 5, n // 9 * 4 + 5) for n in range(89)])
    page = _page(build_records(str(data), str(tmp_path / "out")).folder)
    words = _words(page)
    assert len(page.all("bdi")) == 90  # one a row; no other part of the page names a class here
    assert f"{90 - OPEN_ROWS} less frequent classes" in words
    assert words.index("cat 5 ") < words.index("class 0 ")


def test_small_boxes_are_counted_at_the_size_of_the_input(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 6)
    # 320 × 320 stretches 64 × 48 pixels by 5 and 6.67: 2 × 2 pixels become 11.5, 3 × 3 become 17.3.
    small: list[Box] = [("dot", 4 * number, 1, 4 * number + 2, 3) for number in range(9)]
    larger: list[Box] = [("dot", 4 * number, 20, 4 * number + 3, 23) for number in range(3)]
    label(data / "p0.xml", boxes=[*small, *larger, ("speck", 50, 40, 51, 41)])
    words = _words(_page(build_records(str(data), str(tmp_path / "out")).folder))
    assert "56% of the boxes are under 16 px at 320 × 320 pixels" in words
    assert "The largest shares of such boxes: 75% of your dot ." in words
    assert "12 px 75%" in words and "6 px 100%" in words  # one box says little about its class


def test_suspicious_boxes_are_drawn(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 14)
    label(data / "p0.xml", boxes=[("cat", 8, 6, 40, 30), ("cat", 50, 40, 53, 43)])
    label(data / "p1.xml", boxes=[("cat", 8, 6, 40, 30), ("dog", 8, 6.5, 40, 30)])
    page = _page(build_records(str(data), str(tmp_path / "out")).folder)
    words = _words(page)
    assert "Suspicious labels 2" in words
    assert "1 box is more than 3 times larger, smaller, wider, or taller" in words
    assert "1 pair of boxes nearly coincides (IoU above 0.9)" in words
    assert "p0.jpg cat: 9.2 times smaller than is typical of its class" in words
    assert "p1.jpg cat and dog: one object with two classes? The boxes have an IoU of 0.97" in words
    assert len(page.all("image")) == 2
    assert all((image["href"] or "").startswith("data:image/jpeg;base64,/9j/") for image in page.all("image"))
    drawn = [rect for rect in page.all("rect") if rect.get("class") == "true"][1:]  # the first is the legend's
    assert {(rect["x"], rect["y"], rect["width"], rect["height"]) for rect in drawn} == {
        ("250.0", "200.0", "15.0", "15.0"),
        ("40.0", "30.0", "160.0", "120.0"),
    }


def test_a_box_of_another_shape_is_suspicious(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 14)
    label(data / "p0.xml", boxes=[("cat", 8, 6, 40, 30), ("cat", 2, 10, 62, 17)])  # as large as the others
    words = _words(_page(build_records(str(data), str(tmp_path / "out")).folder))
    assert "Suspicious labels 1" in words
    assert "p0.jpg cat: 6.4 times wider than is typical of its class" in words


def test_many_suspicious_labels_are_listed_and_a_dozen_drawn(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 30)
    for number in range(20):
        label(data / f"p{number}.xml", boxes=[("cat", 8, 6, 40, 30), ("cat", 8, 6.3, 40, 30)])
    page = _page(build_records(str(data), str(tmp_path / "out")).folder)
    assert len(page.all("image")) == 12
    assert "All 20 as a list" in _words(page)


def test_an_image_is_drawn_as_its_record_stores_it(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 8)
    exif = save_turned(data / "turned.jpg")
    label(data / "turned.xml", (48, 64), [("cat", 4, 4, 40, 50), ("cat", 4, 4.5, 40, 50)])
    page = _page(build_records(str(data), str(tmp_path / "out")).folder)
    assert exif == 6
    (image,) = page.all("image")
    assert (image["width"], image["height"]) == ("180.0", "240")


def test_outlines_are_drawn_over_the_thumbnails(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 8)
    save(data / "poly.jpg", picture("poly"), quality=90)
    polygon = "<polygon><x1>8</x1><y1>6</y1><x2>40</x2><y2>6</y2><x3>40</x3><y3>30</y3></polygon>"
    box = "<bndbox><xmin>8</xmin><ymin>6</ymin><xmax>40</xmax><ymax>30</ymax></bndbox>"
    close = box.replace(">6<", ">6.5<")
    objects = "".join(f"<object><name>cat</name>{one}</object>" for one in (box + polygon, close))
    (data / "poly.xml").write_text(xml_text("poly.jpg", (64, 48), [], objects))
    page = _page(build_records(str(data), str(tmp_path / "out")).folder)
    _, path = (one for one in page.all("path") if one.get("class") == "outline")  # the first is the legend's
    assert path["d"] == "M40 30L200 30L200 150Z"  # 5 times as large


def test_the_path_of_a_mask_covers_its_pixels() -> None:
    pixels = np.zeros((48, 64), np.bool_)
    pixels[10:30, 8:24] = pixels[20:30, 24:40] = True
    pixels[15, 12] = False
    item = _object("cat", 8, 10, 40, 30)._replace(outline=Outline((), [mask_of(pixels[10:30, 8:40], 8, 10)]))
    (path,) = outline_paths([item, _object("cat", 1, 1, 2, 2)], 48)
    covered = np.zeros((240, 320), np.bool_)
    for x, y, across, down in re.findall(r"M(\S+) (\S+)h(\S+)v(\S+)h-\3z", path):
        left, top, right, bottom = (round(float(side)) for side in (x, y, float(x) + float(across), float(y) + float(down)))
        covered[top:bottom, left:right] = True
    assert (covered == pixels.repeat(5, 0).repeat(5, 1)).all()
    noise = np.zeros((480, 640), np.bool_)
    noise[::2] = True
    item = _object("cat", 0, 0, 640, 480)._replace(outline=Outline([[0.5] * 20_000], [mask_of(noise, 0, 0)]))
    assert len(outline_paths([item], 480)[0]) < 60_000


def test_duplicates_are_side_by_side(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", 8)
    for name, original in (("same", "p0"), ("other", "p1")):
        (data / f"{name}.jpg").write_bytes((data / f"{original}.jpg").read_bytes())
        label(data / f"{name}.xml")
    label(data / "other.xml", boxes=[("cat", 12, 6, 40, 30)])
    save(data / "poor.jpg", picture("p2"), quality=40)
    label(data / "poor.xml")
    folder = build_records(str(data), str(tmp_path / "out")).folder
    page, words = _page(folder), _words(_page(folder))
    assert {"id": "duplicates"} in page.all("h2")
    assert "1 set of images that look alike (near-duplicates). 2 sets of byte-identical images. Two images of each." in words
    order = ["Byte-identical, but labeled differently", "Near-duplicates", "poor.jpg 64 × 48 pixels, 1 box", "same.jpg"]
    places = [words.rindex(text) for text in order]
    assert places == sorted(places)
    assert len(page.all("image")) == 6
    warnings = json.loads((folder / "dataset.json").read_text())["warnings"]
    (warning,) = [text for text in warnings if "byte-identical" in text]
    assert "other.jpg" in warning and "p1.jpg" in warning and "same.jpg" not in warning


def save_turned(path: Path) -> int:
    image = picture("turned", (64, 48))
    exif = image.getexif()
    exif[0x0112] = 6
    save(path, image, exif=exif)
    return int(exif[0x0112])


@pytest.mark.parametrize(
    ("sizes", "odd"),
    [
        ([1.0] * 9 + [4.0], [9]),
        ([1.0] * 9 + [0.25], [9]),
        ([1.0] * 9 + [2.9], []),  # less than a factor of 3
        ([1.0] * 8 + [4.0], []),  # too few
        # Half of them are 2 times away from the median of 4 or more: 5 deviations are a factor of 32.
        ([1.0, 1.0, 2.0, 2.0, 2.0, 4.0, 4.0, 8.0, 8.0, 8.0, 16.0, 100.0], []),
        ([1.0, 1.0, 2.0, 2.0, 2.0, 4.0, 4.0, 8.0, 8.0, 8.0, 16.0, 200.0], [11]),
    ],
)
def test_which_sizes_are_odd(sizes: list[float], odd: list[int]) -> None:
    octaves = odd_octaves(np.array(sizes, np.float32))
    assert np.flatnonzero(octaves).tolist() == odd


def test_the_distance_of_an_odd_size_is_in_octaves() -> None:
    assert odd_octaves(np.array([1.0] * 10 + [0.125], np.float32))[-1] == -3


def test_which_boxes_nearly_coincide() -> None:
    base = _object("cat", 10, 10, 110, 110)
    near, apart = _object("cat", 10, 10, 110, 104), _object("cat", 16, 10, 116, 110)  # IoU of 0.94 and 0.89
    assert [suspect.objects for suspect in near_copies_of(3, [base, near])] == [(near, base)]
    assert [suspect.row for suspect in near_copies_of(3, [base, near])] == [3]
    assert list(near_copies_of(0, [base, apart])) == []
    twice = next(near_copies_of(0, [base, near]))
    assert twice.reason == "one object labeled twice? The boxes have an IoU of 0.94"


def test_pairs_are_found_as_by_comparing_all() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 200, (120, 2))
    corners = np.concatenate([corners, corners + random.uniform(-4, 4, corners.shape)])
    sides = random.uniform(20, 100, (240, 1)).repeat(2, 1)
    boxes = np.concatenate([corners, corners + sides], 1)
    boxes[120:, 2:] = boxes[:120, 2:] + random.uniform(-4, 4, (120, 2))
    objects = [_object("cat", *box) for box in boxes.tolist()]
    low, high = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    overlaps = np.triu(shared / (areas[:, None] + areas[None, :] - shared), 1)
    found = {frozenset(suspect.objects) for suspect in near_copies_of(0, objects)}
    expected = {frozenset((objects[one], objects[two])) for one, two in np.argwhere(overlaps > NEAR_COPY)}
    assert len(expected) > 20
    assert found == expected


def test_very_many_boxes_in_one_place_take_no_time_to_speak_of() -> None:
    objects = [_object("cat", 0, 0, 100 + number / 1000, 100) for number in range(20_000)]
    assert sum(1 for _ in near_copies_of(0, objects)) < 20 * 20_000


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0%"), (0.001, "under 1%"), (0.37, "37%"), (0.999, "over 99%"), (1, "100%"), (0.005, "0%")]
)
def test_shares_as_text(share: float, text: str) -> None:
    assert percent(share) in (text, "1%")
