"""Lists in JSON of any size are read element by element, as Python's `json` would read them, and damage is a fault."""

import io
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boxcar.records import json_stream
from boxcar.records.faults import FaultyError
from boxcar.records.json_stream import LONGEST_VALUE, list_elements

_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=5
)
_NAMES = st.sampled_from(["images", "annotations", "info"])


def _elements(content: bytes, wanted: str = "images") -> list[Any]:
    return [element for _, element in list_elements(io.BytesIO(content), [wanted], set())]


@pytest.mark.parametrize("piece", [3, 100_000])
@settings(deadline=2000, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_NAMES, _VALUES | st.lists(_VALUES, max_size=3), max_size=3), st.booleans(), st.sampled_from([None, 2]))
def test_it_reads_what_json_reads(piece: int, value: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    begun: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_PIECE", piece)
        content = text.encode("utf-8", "replace")
        found = list(list_elements(io.BytesIO(content), ["images", "annotations"], begun))
    expected = {name: item for name, item in json.loads(content).items() if name != "info" and isinstance(item, list)}
    assert begun == set(expected)
    assert found == [(name, item) for name, items in expected.items() for item in items]


@settings(deadline=2000, max_examples=300)
@given(st.binary(max_size=200) | st.text('{}[]":,0-1.e"images\\u ', max_size=40).map(str.encode))
def test_any_bytes_give_elements_or_a_fault(content: bytes) -> None:
    for whole in (content, b'{"images": [' + content, b'{"images": [{}, ' + content + b"]}"):
        try:
            _elements(whole)
        except FaultyError as error:
            assert error.kind == "broken_labels"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is cut off after 0 characters"),
        (b"hello", "is broken at character 1 "),
        (b'{"images": [{"id": 1}, {"id"', "is cut off after 28 characters"),
        (b'{"images": [1, 2.', "is broken at character 17 (, or ] is missing)"),
        (b'{"images": [{"file_name": "a', "is cut off after 28 characters"),
        (b'{"images": [1', "is cut off after 13 characters"),
        (b'{"images": [{"id": 1} {"id": 2}]}', "is broken at character 23 (, or ] is missing)"),
        (b'{"images": [{"id": 1,, "a": 2, "b": 3, "c": 4}]}', "is broken at character 22 "),
        (b'{"images": [\xff]}', "its text is not UTF-8"),
        ('{"images": ["é"]}'.encode("latin-1"), "its text is not UTF-8"),
        (b'\xff\xfe{\0"', "its text is not UTF-16"),
        (b'{"images": [' + b"9" * 5000 + b"]}", "a number is too long"),
        *((name + sign * 100_000, "nested too deep") for name in (b'{"images": ', b'{"info": ') for sign in (b"[", b'{"a":')),
    ],
)
def test_damage_is_said_with_its_place(content: bytes, words: str) -> None:
    with pytest.raises(FaultyError) as caught:
        _elements(content)
    assert caught.value.kind == "broken_labels"
    assert words in caught.value.reason


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_a_byte_order_mark(encoding: str) -> None:
    assert _elements('{"images": ["é\U0001f95c"]}'.encode(encoding)) == ["é\U0001f95c"]


def test_another_root_has_no_lists() -> None:
    assert [_elements(content) for content in (b"[]", b"[[{}]]", b"1", b"null", b"{}", b'{"a": {"images": [1]}}')] == [[]] * 6


def test_a_huge_value_is_refused_and_not_collected() -> None:
    class Endless(io.RawIOBase):
        read_bytes = 0

        def read(self, size: int = -1) -> bytes:
            self.read_bytes += size
            return b'{"images": ["'.ljust(size, b"a") if self.read_bytes == size else b"a" * size

    file = Endless()
    with pytest.raises(FaultyError, match="over 4,000,000 characters") as caught:
        list(list_elements(file, ["images"], set()))  # type: ignore[arg-type]
    assert caught.value.kind == "labels_too_large"
    assert file.read_bytes < 4 * LONGEST_VALUE


def test_memory_does_not_grow_with_the_file() -> None:
    content = b'{"images": [' + b",".join(b'{"id": %d, "file_name": "a.jpg"}' % number for number in range(30_000)) + b"]}"
    file = io.BytesIO(content)
    tracemalloc.start()
    try:
        assert sum(1 for _ in list_elements(file, ["images"], set())) == 30_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000 < len(content)
    finally:
        tracemalloc.stop()
