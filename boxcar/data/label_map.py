"""`label_map.pbtxt`: the classes' names by id, in the text format of the Object Detection API's `StringIntLabelMap`.

    item {
      id: 1
      name: 'raccoon'
    }

The format is protobuf's text format (https://protobuf.dev/reference/protobuf/textformat-spec/) for the message in
`object_detection/protos/string_int_label_map.proto`; only as much of it is read as that message can hold.
protobuf's own `text_format` could read it, but would name no line for an
id that is missing or there twice.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from boxcar.errors import BoxcarError, ExitCode
from boxcar.storage import replace_text
from boxcar.storage.cache import uri_of

LARGEST_ID = 2**31 - 1  # the message's id is an int32

_TOKEN = re.compile(
    r"""(?P<space>[\s,;]+|\#[^\n]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*|[-+]?[0-9][0-9A-Za-z_.+-]*)
    |(?P<mark>[{}<>:\[\]-])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_CLOSING = {"{": "}", "<": ">"}


class _BrokenError(Exception):
    """What is wrong, and in which line."""


def read_label_map(path: Path) -> dict[int, str]:
    """The classes' names by id (1 or more), in ascending order of ids. The `display_name` counts where there is no `name`.

    Raises:
        BoxcarError: 64 where there is no such file, 69 where it may not be read, 65 where it is no label map, is empty,
            an id is missing, below 1 or there twice, or a name is missing or there twice.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        what = f"There is no label map {uri_of(path)}."
        raise BoxcarError(ExitCode.USAGE, what, "Give a label_map.pbtxt that exists.") from error
    except UnicodeDecodeError as error:
        raise _refusal(path, "it is not UTF-8 text") from error
    except OSError as error:
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"The label map {uri_of(path)} cannot be read: {error.strerror or error}.",
            "Change its permissions so that you can read it.",
            again=True,
        ) from error
    labels: dict[int, str] = {}
    try:
        for line, item in _items(_tokens(text)):
            number, name = _entry(line, item)
            if number in labels:
                raise _BrokenError(f"line {line}: the id {number} appears twice")
            if name in labels.values():
                raise _BrokenError(f"line {line}: the name {name!r} appears twice")
            labels[number] = name
    except _BrokenError as error:
        raise _refusal(path, str(error)) from error
    if not labels:
        raise _refusal(path, "it contains no item")
    return dict(sorted(labels.items()))


def write_label_map(path: Path, labels: Mapping[int, str]) -> None:
    """Writes a label map whole or not at all.

    Args:
        path: the file, `label_map.pbtxt` by custom.
        labels: names by id; ids from 1, names without repetition.

    Raises:
        BoxcarError: 69 where the file cannot be written.
    """
    assert all(1 <= number <= LARGEST_ID for number in labels), labels
    assert len(set(labels.values())) == len(labels), labels
    replace_text(path, label_map_text(labels))


def label_map_text(labels: Mapping[int, str]) -> str:
    """The text that `write_label_map` writes."""
    return "".join(f"item {{\n  id: {number}\n  name: {_quoted(labels[number])}\n}}\n" for number in sorted(labels))


def _refusal(path: Path, reason: str) -> BoxcarError:
    return BoxcarError(
        ExitCode.DATA, f"The label map {uri_of(path)} cannot be used: {reason}.", "Fix the file, or give another label map."
    )


def _quoted(name: str) -> str:
    plain = name.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + "".join(f"\\{ord(sign):03o}" if ord(sign) < 32 or ord(sign) == 127 else sign for sign in plain) + "'"


def _unquoted(line: int, literal: str) -> str:
    def replaced(match: re.Match[bytes]) -> bytes:
        code: bytes = match[1]
        if code[:1] == b"x" and len(code) > 1:
            return bytes([int(code[1:], 16)])
        if code[:1] == b"u" and len(code) > 1:
            return chr(int(code[1:], 16)).encode("utf-8", "surrogatepass")
        if code[:1].isdigit() and code[0] < ord("8"):
            return bytes([int(code, 8) & 255])
        return _ESCAPED.get(code, code)

    try:
        return _ESCAPE.sub(replaced, literal[1:-1].encode()).decode()
    except UnicodeDecodeError as error:
        raise _BrokenError(f"line {line}: {literal} is not UTF-8 text") from error


def _tokens(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, kind, piece of text) without white space, separators and comments; last of all an "end"."""
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _BrokenError(f"line {line}: {text[position : position + 12].splitlines()[0]!r} is not understood")
        if match.lastgroup != "space":
            yield line, str(match.lastgroup), match[0]
        line += match[0].count("\n")
        position = match.end()
    yield line, "end", ""


def _items(tokens: Iterator[tuple[int, str, str]]) -> Iterator[tuple[int, dict[str, tuple[str, str]]]]:
    """Each item's line and its fields: name -> (kind, piece). Messages within an item (keypoints) are passed over."""
    for line, kind, piece in tokens:
        if kind == "end":
            return
        if piece != "item":
            raise _BrokenError(f"line {line}: 'item' was expected, not {piece!r}")
        opening = _after_colon(tokens)[2]
        if opening not in _CLOSING:
            raise _BrokenError(f"line {line}: '{{' was expected after 'item', not {opening!r}")
        yield line, _fields(line, tokens, _CLOSING[opening])


def _fields(start: int, tokens: Iterator[tuple[int, str, str]], closing: str) -> dict[str, tuple[str, str]]:
    fields: dict[str, tuple[str, str]] = {}
    field = None
    for line, kind, piece in tokens:
        if piece == closing and kind == "mark":
            return fields
        if kind == "end":
            break
        if kind == "string" and field is not None and fields[field][0] == "string":
            # Neighbouring strings are one string.
            fields[field] = ("string", fields[field][1] + _unquoted(line, piece))
            continue
        if kind != "word":
            raise _BrokenError(f"line {line}: a field's name was expected, not {piece!r}")
        field = piece
        line, kind, piece = _after_colon(tokens)
        if kind == "mark" and piece in _CLOSING:
            _pass_over(start, tokens)
            field = None
        elif kind in ("word", "string"):
            if field in fields:
                raise _BrokenError(f"line {line}: {field!r} appears twice in one item")
            fields[field] = (kind, _unquoted(line, piece) if kind == "string" else piece)
        else:
            raise _BrokenError(f"line {line}: the field {field!r} has no value")
    raise _BrokenError(f"the item that starts in line {start} is not closed")


def _after_colon(tokens: Iterator[tuple[int, str, str]]) -> tuple[int, str, str]:
    piece = next(tokens)
    return next(tokens) if piece[2] == ":" and piece[1] == "mark" else piece


def _pass_over(start: int, tokens: Iterator[tuple[int, str, str]]) -> None:
    depth = 1
    for _, kind, piece in tokens:
        if kind == "mark":
            depth += (piece in "{<") - (piece in "}>")
        if depth == 0:
            return
    raise _BrokenError(f"the item that starts in line {start} is not closed")


def _entry(line: int, item: dict[str, tuple[str, str]]) -> tuple[int, str]:
    if "id" not in item:
        raise _BrokenError(f"line {line}: the item has no id")
    kind, piece = item["id"]
    if kind != "word" or not re.fullmatch(r"[-+]?[0-9]{1,12}", piece):
        raise _BrokenError(f"line {line}: the id {piece!r} is not a whole number")
    number = int(piece)
    if not 1 <= number <= LARGEST_ID:
        raise _BrokenError(f"line {line}: the id is {number}; ids range from 1 to {LARGEST_ID}")
    kind, name = item.get("name") or item.get("display_name") or ("string", "")
    if kind != "string" or not name.strip():
        raise _BrokenError(f"line {line}: the item with id {number} has no name")
    return number, name
