"""Reads JSON one value at a time, so that a file of any size needs the memory of one.

The parsers that call back for each value (ijson) keep the path of every open bracket, which takes gigabytes for JSON that is
nested 100,000 deep, and refuse NaN, which Python's `json` writes.
"""

import codecs
import json
import re
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

from boxcar.records.faults import FaultyError

LONGEST_VALUE = 4_000_000  # characters: more than 200,000 points of an outline, and at most 120 MB as Python objects
_PIECE = 1 << 17  # bytes that are read at once
_UNSURE = 10  # characters at the end of a piece in which an error may be due to what follows, such as "-Infinity"
_NUMBER_CUT = 2  # characters that a number may have before the end of a piece and after what seems to be its end, such as "e+"

_decode = json.JSONDecoder().raw_decode
_blanks = re.compile(r"[ \t\r\n]*").match


def list_elements(file: BinaryIO, wanted: Collection[str], begun: set[str]) -> Iterator[tuple[str, Any]]:
    """The elements of some lists that are members of a JSON object, each with its list's name, in the order of the file.

    Args:
        file: as for `JsonText`.
        wanted: the names of the lists.
        begun: the name of each wanted list is added when it begins, even if it is empty.

    Yields:
        Nothing if the JSON is no object. Numbers may be NaN and infinite; of two equal names in an element, the last counts.

    Raises:
        FaultyError: as `JsonText`.
    """
    text = JsonText(file)
    if text.sign() != "{":
        if text.sign() != "[":
            text.value()
        return
    for name in text.members():
        if text.sign() != "[":
            text.value()
            continue
        if name in wanted:
            begun.add(name)
        for element in text.elements():
            if name in wanted:
                yield name, element


class JsonText:
    """The text of a JSON file, of which only the values that are asked for are built, one at a time.

    Args:
        file: UTF-8, UTF-16, or UTF-32, with or without a byte order mark.

    Every method raises FaultyError: `broken_labels` if the text is not JSON or not what is asked for, `labels_too_large` for a
    value with more than LONGEST_VALUE characters.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        piece = file.read(_PIECE)
        self._decoder = codecs.getincrementaldecoder(json.detect_encoding(piece))()
        self._text, self._at = self._decoded(piece), 0
        self._before = 0  # characters that are no longer in the window
        self._ended = False  # whether the file ends with the window

    def sign(self) -> str:
        """The next character that is not blank; "" at the end of the file."""
        while True:
            blanks = _blanks(self._text, self._at)
            assert blanks is not None
            self._at = blanks.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, signs: str) -> str:
        """Passes the next character, which must be one of `signs`."""
        sign = self.sign()
        if not sign or sign not in signs:
            raise self._broken(f"{' or '.join(signs)} is missing", self._at)
        self._at += 1
        return sign

    def elements(self) -> Iterator[Any]:
        """Passes a list, and yields its values."""
        self.take("[")
        if self.sign() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return

    def members(self) -> Iterator[str]:
        """Passes an object, and yields its names. Before the next one, the caller must pass the value."""
        self.take("{")
        if self.sign() == "}":
            self.take("}")
            return
        while True:
            name = self.value()
            if not isinstance(name, str):
                raise self._broken("a name is no text", self._at)
            self.take(":")
            yield name
            if self.take(",}") == "}":
                return

    def end(self) -> None:
        """Refuses what comes after the value that was passed last."""
        if self.sign():
            raise self._broken("it goes on after its end", self._at)

    def value(self) -> Any:
        """Passes a value of any kind, and returns it."""
        self.sign()
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except RecursionError as error:
                raise FaultyError("broken_labels", "the JSON is nested too deep") from error
            except json.JSONDecodeError as error:
                ends = error.msg.startswith("Unterminated")  # a text, at whose beginning the error's position is
                if self._ended or (error.pos < len(self._text) - _UNSURE and not ends):
                    raise self._broken(error.msg, len(self._text) if ends else error.pos) from error
                self._more()
            except ValueError as error:  # Python refuses to convert so many digits
                raise self._broken("a number is too long", self._at) from error
            else:
                if end + _NUMBER_CUT < len(self._text) or self._ended:
                    self._at = end
                    return value
                self._more()

    def _more(self) -> bool:
        """Reads another piece, at least as long as what is left, so that a long value takes linear time. False at the end."""
        left = len(self._text) - self._at
        if left > LONGEST_VALUE:
            raise FaultyError("labels_too_large", f"a value in it has over {LONGEST_VALUE:,} characters")
        piece = b"" if self._ended else self._file.read(max(_PIECE, left))
        self._ended = not piece
        self._before += self._at
        self._text, self._at = self._text[self._at :] + self._decoded(piece), 0
        return not self._ended

    def _decoded(self, piece: bytes) -> str:
        try:
            return self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise FaultyError("broken_labels", f"its text is not {error.encoding.upper()}") from error

    def _broken(self, problem: str, at: int) -> FaultyError:
        if self._ended and at >= len(self._text):
            return FaultyError("broken_labels", f"the JSON is cut off after {self._before + at:,} characters")
        return FaultyError("broken_labels", f"the JSON is broken at character {self._before + at + 1:,} ({problem})")
