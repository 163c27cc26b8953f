"""Which annotation describes which image, from a listing of names, for the folder layouts that people use."""

import time
from typing import BinaryIO

import pytest

from boxcar.records.faults import Fault
from boxcar.records.pairing import paired
from boxcar.records.reader import Item, Listing

ALONE = "an annotation without an image"


def _never(name: str) -> BinaryIO:
    raise AssertionError(f"{name} is opened")


def _paired(names: str, given: dict[str, str]) -> tuple[dict[str, str | None], list[Fault]]:
    """The annotation of each image (None if it has none), the annotations without an image, and the faults."""
    found: dict[str, str | None] = {}
    faults = []
    listing = Listing(sorted(names.split()), lambda name: [given[name]] if name in given else [], _never)
    for item in paired(listing):
        if isinstance(item, Fault):
            faults.append(item)
            continue
        assert isinstance(item, Item)
        key, value = (str(item.source), ALONE) if item.image is None else (item.image, item.source)
        assert key not in found
        found[key] = value
    return found, faults


@pytest.mark.parametrize(
    ("names", "given"),
    [
        # Beside each other.
        ("1.jpg 2.jpeg 1.xml 2.XML", {}),
        ("1.JPG 1.xml", {"1.xml": "lies.jpg"}),
        ("a/b/1.jpg a/b/1.xml a/1.jpg a/1.xml", {}),
        # In the usual folders.
        ("images/1.jpg annotations/1.xml", {}),
        ("JPEGImages/1.jpg Annotations/1.xml", {}),
        ("images/1.jpg labels/1.xml images/2.png labels/2.xml", {}),
        ("set/images/train/1.jpg set/annotations/train/1.xml", {}),
        ("images/1.png annotations/xmls/1.xml", {}),
        ("1.jpg annotations/1.xml", {}),
        ("images/1.jpg images/2.jpg annotations/1.xml annotations/2.xml", {"annotations/1.xml": "2.jpg"}),
        # In folders of any names.
        ("images/1.jpg annots/1.xml", {}),
        ("pics/1.jpg pics/2.jpg xml_out/1.xml xml_out/2.xml", {}),
        ("1.jpg 2.jpg out/1.xml out/2.xml", {}),
        ("raw/1.jpg raw/2.jpg 1.xml 2.xml", {}),
        ("a/b/c/1.jpg d/e/1.xml", {}),
        ("images/cam1/cam1_0.jpg images/cam2/cam2_0.jpg annotations/cam1_0.xml annotations/cam2_0.xml", {}),
        # The same names again in each split or camera: the closest folder counts.
        ("train/images/1.jpg train/annots/1.xml test/images/1.jpg test/annots/1.xml", {}),
        ("images/train/1.jpg annots/train/1.xml images/test/1.jpg annots/test/1.xml", {}),
        ("a/train/x/1.jpg b/train/x/1.xml a/test/x/1.jpg b/test/x/1.xml", {}),
        ("d/train/1.jpg d/train/out/1.xml d/val/1.jpg d/val/out/1.xml", {}),
        # By the name that the annotation gives.
        ("cat.jpg 1.xml dog.v1.jpg 2.xml owl.png 3.xml", {"1.xml": "cat.jpg", "2.xml": "dog.v1", "3.xml": "owl"}),
        ("images/b.png annotations/a.xml", {"annotations/a.xml": "b.jpg"}),
        ("pics/cat.jpg out/1.xml", {"out/1.xml": "cat.jpg"}),
        ("pics/1.jpg scans/1.png out/a/1.xml out/b/1.xml", {"out/a/1.xml": "1.png", "out/b/1.xml": "1.jpg"}),
        ("pics/1.jpg scans/1.png out/a/1.xml out/b/1.xml", {"out/a/1.xml": "1.png"}),
    ],
)
def test_every_image_gets_its_annotation(names: str, given: dict[str, str]) -> None:
    found, faults = _paired(names, given)
    assert faults == []
    assert len(found) == sum(not name.lower().endswith(".xml") for name in names.split())
    assert len(set(found.values()) - {None, ALONE}) == len(found), found
    for image, annotation in found.items():
        image_stem, annotation_stem = (str(name).rpartition("/")[2].rpartition(".")[0] for name in (image, annotation))
        assert image_stem == annotation_stem or given[str(annotation)].startswith(image_stem)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (
            "images/train/1.jpg annots/train/1.xml images/val/1.jpg annots/val/1.xml",
            {("images/train/1.jpg", "annots/train/1.xml")},
        ),
        ("train/images/1.jpg train/annots/1.xml val/images/1.jpg", {("train/images/1.jpg", "train/annots/1.xml")}),
        ("a/x/1.jpg a/y/1.xml b/1.xml b/1.jpg", {("a/x/1.jpg", "a/y/1.xml"), ("b/1.jpg", "b/1.xml")}),
    ],
)
def test_the_closest_is_meant(names: str, pairs: set[tuple[str, str]]) -> None:
    found, faults = _paired(names, {})
    assert faults == []
    assert pairs <= set(found.items())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("1.jpg 2.jpg 1.xml", {"1.jpg": "1.xml", "2.jpg": None}),
        ("1.jpg 1.xml 2.xml", {"1.jpg": "1.xml", "2.xml": ALONE}),
        ("images/1.jpg images/2.jpg annots/1.xml", {"images/1.jpg": "annots/1.xml", "images/2.jpg": None}),
        ("train/1.jpg train/1.xml val/1.jpg", {"train/1.jpg": "train/1.xml", "val/1.jpg": None}),
        ("a/1.jpg a/1.xml b/1.xml", {"a/1.jpg": "a/1.xml", "b/1.xml": ALONE}),
        # Both folders keep to themselves: another camera's image of the same name is not what the annotation describes.
        (
            "cam1/1.jpg cam1/2.jpg cam1/2.xml cam2/1.xml cam2/3.jpg cam2/3.xml",
            {"cam1/1.jpg": None, "cam1/2.jpg": "cam1/2.xml", "cam2/1.xml": ALONE, "cam2/3.jpg": "cam2/3.xml"},
        ),
    ],
)
def test_what_has_no_partner_stays_alone(names: str, expected: dict[str, str | None]) -> None:
    assert _paired(names, {}) == (expected, [])


@pytest.mark.parametrize(
    ("names", "given", "blamed", "others"),
    [
        ("cam1/1.jpg cam2/1.jpg xml_out/1.xml", {}, {"xml_out/1.xml": "same_stem"}, {"cam1/1.jpg", "cam2/1.jpg"}),
        ("cam1/1.jpg cam2/1.jpg out/1.xml", {"out/1.xml": "1.jpg"}, {"out/1.xml": "same_stem"}, {"cam1/1.jpg", "cam2/1.jpg"}),
        ("pics/1.jpg a/1.xml b/1.xml", {}, {"a/1.xml": "two_annotations", "b/1.xml": "two_annotations"}, {"pics/1.jpg"}),
        ("p/1.jpg q/1.jpg a/1.xml b/1.xml", {}, {"a/1.xml": "same_stem", "b/1.xml": "same_stem"}, {"p/1.jpg", "q/1.jpg"}),
        ("1.jpg 1.png 1.xml", {"1.xml": "1.png"}, {"1.jpg": "same_stem"}, {"1.png", "1.xml"}),
        ("pics/1.jpg scans/1.png out/1.xml", {"out/1.xml": "1.png"}, {"pics/1.jpg": "same_stem"}, {"scans/1.png", "out/1.xml"}),
        ("1.jpg 1.xml 2.xml", {"2.xml": "1.jpg"}, {"2.xml": "two_annotations"}, {"1.jpg", "1.xml"}),
    ],
)
def test_what_cannot_be_decided_is_a_fault_that_names_all(
    names: str, given: dict[str, str], blamed: dict[str, str], others: set[str]
) -> None:
    found, faults = _paired(f"{names} x/2.jpg x/2.xml", given)
    assert found.pop("x/2.jpg") == "x/2.xml"
    assert {fault.file: fault.kind for fault in faults} == blamed
    for other in others:
        assert any(other.rpartition("/")[2] in fault.reason for fault in faults)
    assert not set(blamed) & set(found), "a guess was made"
    assert ALONE not in found.values() and None not in found.values(), "an image with unclear boxes counts as one without any"


def test_many_files_of_one_name_are_paired_in_little_time() -> None:
    """A film's frames: 300 folders with the same 30 names, in two trees."""
    names = [f"{kind}/clip{clip}/{frame}.{kind}" for kind in ("jpg", "xml") for clip in range(300) for frame in range(30)]
    started = time.process_time()
    found, faults = _paired(" ".join(names), {})
    assert time.process_time() - started < 10
    assert faults == []
    assert all(annotation == image.replace("jpg", "xml") for image, annotation in found.items())
