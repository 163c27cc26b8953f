"""Copies what the comments of values.yaml say into README.md and values.schema.json, so that it is written once.

    python charts/boxcar/document.py

A comment that begins with `# --` belongs to the next key below it, and continues in the comment lines that follow.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent
BEGIN, END = "<!-- values: made by document.py -->", "<!-- end of values -->"
_KEY = re.compile(r"( *)([A-Za-z_][A-Za-z0-9_]*):")


def read_comments(values: str) -> dict[tuple[str, ...], str]:
    """The sentences above the keys of values.yaml, by the keys' paths, in their order."""
    found: dict[tuple[str, ...], str] = {}
    path: list[str] = []
    comment: list[str] = []
    for line in values.splitlines():
        text = line.strip()
        if text.startswith("# -- "):
            comment = [text.removeprefix("# -- ")]
        elif text.startswith("# ") and comment:
            comment.append(text.removeprefix("# "))
        elif match := _KEY.match(line):
            path = [*path[: len(match[1]) // 2], match[2]]
            if comment:
                found[tuple(path)] = " ".join(comment)
            comment = []
    return found


def table(values: str) -> str:
    """The Markdown table of the values that have a comment, with their defaults; what only holds others is left out."""
    defaults = yaml.safe_load(values)
    comments = read_comments(values)
    rows = ["| value | default | description |", "|---|---|---|"]
    for path, comment in comments.items():
        if any(other[:-1] == path for other in comments):
            continue
        default = json.dumps(_at(defaults, path)).replace("|", "\\|")
        rows.append(f"| `{'.'.join(path)}` | `{default}` | {comment.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def document_readme(readme: str, values: str) -> str:
    """README.md with the table between its two marks replaced."""
    head, tail = readme.split(BEGIN)[0], readme.split(END)[1]
    return f"{head}{BEGIN}\n{table(values)}\n{END}{tail}"


def document_schema(schema: str, values: str) -> str:
    """values.schema.json with defaults, and with the comments as descriptions."""
    document = json.loads(schema)
    defaults = yaml.safe_load(values)
    comments = read_comments(values)
    for path, comment in comments.items():
        parent = document
        for key in path[:-1]:
            parent = parent["properties"][key]
        holds_others = any(other[:-1] == path for other in comments)
        described = {"description": comment} | ({} if holds_others else {"default": _at(defaults, path)})
        rest = {key: value for key, value in parent["properties"][path[-1]].items() if key not in described}
        parent["properties"][path[-1]] = described | rest
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        values = values[key]
    return values


if __name__ == "__main__":
    comments = (CHART / "values.yaml").read_text(encoding="utf-8")
    for name, document in (("README.md", document_readme), ("values.schema.json", document_schema)):
        file = CHART / name
        file.write_text(document(file.read_text(encoding="utf-8"), comments), encoding="utf-8")
