"""Whatever bytes an image or its annotation has, it is read soundly or a fault is named."""

import io

from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import picture, xml_text
from PIL import Image

from boxcar.records.annotation import checked_objects
from boxcar.records.faults import FaultyError
from boxcar.records.formats.voc import VocReader
from boxcar.records.images import inspect, stored_bytes


@settings(deadline=2000, max_examples=150)
@given(st.binary(max_size=200) | st.text("<>/abnotation&;! ", max_size=80).map(str.encode))
def test_any_xml_bytes_give_an_annotation_or_a_fault(content: bytes) -> None:
    try:
        annotation = VocReader().read(content)
    except FaultyError as error:
        assert error.reason
    else:
        checked_objects(annotation, 64, 48)


_VALUE = st.sampled_from(["", "0", "-3", "12.5", "1e400", "nan", "x", "99999999999999999999", "\u0663", "&lt;"])


@settings(deadline=2000, max_examples=150)
@given(st.lists(st.tuples(_VALUE, _VALUE, _VALUE, _VALUE, _VALUE), max_size=3))
def test_any_values_give_sound_boxes_or_faults(rows: list[tuple[str, str, str, str, str]]) -> None:
    annotation = VocReader().read(xml_text("a.jpg", (64, 48), list(rows)).encode())
    sound, clipped, repeated, problems, _ = checked_objects(annotation, 64, 48)
    blamed = {number for number in range(1, len(rows) + 1) if any(f"box {number} " in f"{reason} " for _, reason in problems)}
    assert len(sound) + repeated + len(blamed) == len(rows)
    assert clipped <= len(sound)
    for item in sound:
        assert 0 <= item.xmin < item.xmax <= 64
        assert 0 <= item.ymin < item.ymax <= 48


@settings(deadline=5000, max_examples=150)
@given(st.data(), st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]))
def test_any_damage_to_a_picture_is_a_fault_or_harmless(data: st.DataObject, image_format: str) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture("damaged", (24, 16)).save(file, image_format, exif=exif)
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        found = inspect(damaged, full_decode=True)
    except FaultyError as error:
        assert error.reason
        return
    encoded, _ = stored_bytes(damaged, found.treatment(True), True)
    with Image.open(io.BytesIO(encoded)) as stored:
        assert stored.size == found.size(turn=True)
