"""Reads flatbuffers by the numbers of their fields alone, as their format is published, without any code made from a schema.

https://flatbuffers.dev/internals: a table begins with the distance back to its vtable; that holds, behind its own length and
the table's, 16 bits for each field: how far into the table it lies, 0 where it is not set. Strings, vectors and tables lie
elsewhere; what stands in their place is the distance.
"""

import struct
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """One table in a flatbuffer."""

    content: bytes
    position: int

    @classmethod
    def root(cls, content: bytes, identifier: bytes) -> "Table":
        assert content[4:8] == identifier, content[4:8]
        return cls(content, _number(content, 0, "I"))

    def __contains__(self, field: int) -> bool:
        return self._place(field) is not None

    def number(self, field: int, kind: str, default: Any = 0) -> Any:
        """A scalar; `kind` is struct's letter."""
        place = self._place(field)
        return default if place is None else _number(self.content, place, kind)

    def table(self, field: int) -> "Table":
        return Table(self.content, self._target(field))

    def text(self, field: int) -> str:
        return self.data(field).decode()

    def data(self, field: int) -> bytes:
        """A vector of bytes."""
        start = self._target(field)
        return self.content[start + 4 : start + 4 + _number(self.content, start, "I")]

    def numbers(self, field: int, kind: str) -> list[Any]:
        """A vector of scalars."""
        start = self._target(field)
        return list(struct.unpack_from(f"<{_number(self.content, start, 'I')}{kind}", self.content, start + 4))

    def tables(self, field: int) -> list["Table"]:
        """A vector of tables."""
        return [Table(self.content, target) for target in self._targets(field)]

    def texts(self, field: int) -> list[str]:
        """A vector of strings."""
        lengths = {target: _number(self.content, target, "I") for target in self._targets(field)}
        return [self.content[target + 4 : target + 4 + length].decode() for target, length in lengths.items()]

    def _place(self, field: int) -> int | None:
        vtable = self.position - _number(self.content, self.position, "i")
        entry = 4 + 2 * field
        if entry >= _number(self.content, vtable, "H"):
            return None
        distance = _number(self.content, vtable + entry, "H")
        return self.position + distance if distance else None

    def _targets(self, field: int) -> list[int]:
        start = self._target(field)
        places = [start + 4 + 4 * index for index in range(_number(self.content, start, "I"))]
        return [place + _number(self.content, place, "I") for place in places]

    def _target(self, field: int) -> int:
        place = self._place(field)
        assert place is not None, f"field {field} is not set"
        return int(place + _number(self.content, place, "I"))


def _number(content: bytes, place: int, kind: str) -> Any:
    return struct.unpack_from(f"<{kind}", content, place)[0]
