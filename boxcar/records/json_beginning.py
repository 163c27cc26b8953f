"""Tells JSON files apart by their beginning."""

import json
import re
from collections import defaultdict
from typing import NamedTuple

BEGINNING = 65_536  # bytes by which a file is told apart
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
