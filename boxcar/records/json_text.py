"""Reads a JSON file in pieces, and tells JSON files apart by their beginning.

Only one piece is in memory at a time. (A library for this, ijson, builds the path of each value, whose length grows with the
square of the nesting.)
"""

import codecs
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from boxcar.records.faults import FaultyError

LARGEST_VALUE = 4_000_000  # characters: 4,000 boxes of Label Studio, and at most 120 MB as Python objects
BEGINNING = 65_536  # bytes by which a file is told apart
_LONGEST_WORD = 32  # characters of what cannot be told from an error if the text ends within it: -Infinity, an escape
_CHUNK = 65_536
_BLANK = re.compile(r"[ \t\n\r]*")
# A text, which may be cut off, with the colon that makes it a key; or a bracket.
_TOKEN = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)(?:"(\s*:)?|\\?\Z)|[\[\]{}]', re.DOTALL)


class Beginning(NamedTuple):
    """What the beginning of a file says."""

    first: str  # its first sign: `{` or `[`, otherwise it is no JSON that holds labels
    keys: dict[int, set[str]]  # the keys of objects by the number of brackets that they are in


def beginning(content: bytes) -> Beginning:
    """Looks at a file's first bytes."""
    text = content.decode(json.detect_encoding(content), "replace")
    keys: dict[int, set[str]] = defaultdict(set)
    depth = 0
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign in ("{", "["):
            depth += 1
        elif sign in ("}", "]"):
            depth -= 1
        elif token[2]:
            keys[depth].add(token[1])
    return Beginning(text.lstrip()[:1], keys)


class JsonText:
    """The text of a JSON file, of which only the values that are asked for are built.

    Every method raises FaultyError: `broken_labels` if the text is not JSON or not what is asked for, `labels_too_large` if a
    value has more than LARGEST_VALUE characters.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        first = file.read(_CHUNK)
        self._ended = not first
        self._decoder = codecs.getincrementaldecoder(json.detect_encoding(first))()
        self._text, self._at = self._decoded(first), 0
        self._json = json.JSONDecoder()

    def elements(self) -> Iterator[Any]:
        """The values of a list, which is all that the file holds."""
        self._expect("[")
        if self._peek() == "]":
            return
        while True:
            yield self.value()
            if self._one_of(",]") == "]":
                break
        if self._peek():
            raise _broken("it goes on after its end")

    def keys(self) -> Iterator[str]:
        """The keys of an object. Before the next one, the caller must take the value."""
        self._expect("{")
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            key = self.value()
            if not isinstance(key, str):
                raise _broken("a key is no text")
            self._expect(":")
            yield key
            if self._one_of(",}") == "}":
                return

    def value(self) -> Any:
        """The next value."""
        self._peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self._text) - _LONGEST_WORD or error.msg.startswith("Unterminated")
                if self._ended or not cut:
                    raise _broken(error.msg) from error
            except RecursionError as error:
                raise _broken("it is nested too deeply") from error
            except ValueError as error:
                raise _broken("it has a number of too many digits") from error
            else:
                if end < len(self._text) or self._ended:  # otherwise a number may go on
                    self._at = end
                    return value
            left = len(self._text) - self._at
            if left > LARGEST_VALUE:
                raise FaultyError("labels_too_large", f"one entry has more than {LARGEST_VALUE:,} characters")
            # Twice as much, so that the time does not grow with the square of the size.
            self._more(min(max(_CHUNK, left), LARGEST_VALUE + 1 - left))

    def _peek(self) -> str:
        """The next sign that is not blank; empty at the end."""
        while True:
            match = _BLANK.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._more(_CHUNK)

    def _expect(self, sign: str) -> None:
        self._one_of(sign)

    def _one_of(self, signs: str) -> str:
        found = self._peek()
        if not found or found not in signs:
            raise _broken(f"{found!r} is in the place of {' or '.join(signs)}" if found else "it is cut off")
        self._at += 1
        return found

    def _more(self, size: int) -> None:
        content = self._file.read(size)
        self._ended = not content
        self._text, self._at = self._text[self._at :] + self._decoded(content), 0

    def _decoded(self, content: bytes) -> str:
        try:
            return self._decoder.decode(content, final=not content)
        except UnicodeDecodeError as error:
            raise _broken(f"it is not {error.encoding}") from error


def _broken(why: str) -> FaultyError:
    return FaultyError("broken_labels", f"the JSON is broken ({why})")
