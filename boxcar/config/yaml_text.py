"""YAML as it is written: the core schema of YAML 1.2, and no key twice in a mapping.

PyYAML reads YAML 1.1, which takes `0100` for 64, `1:30` for 90, `no` for false, `2024-05-01` for a date, and the last of two
equal keys.
"""

import re
from typing import Any

import yaml


class _CoreLoader(yaml.SafeLoader):
    """https://yaml.org/spec/1.2.2/#1032-tag-resolution, and merge keys."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - a table of PyYAML's, which it fills below


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> Any:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            continue
        value = loader.construct_object(key)
        if value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} is there twice", key.start_mark)
        seen.add(value)
    return loader.construct_yaml_map(node)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    _CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))
_CoreLoader.add_constructor("tag:yaml.org,2002:int", _int)
_CoreLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load_yaml(text: str | bytes) -> Any:
    """The value of the only document in a text.

    Raises:
        yaml.YAMLError: if it is not valid, or a mapping has a key twice.
        ValueError, RecursionError: for a number that is too long, or lists that are nested too deeply.
    """
    return yaml.load(text, Loader=_CoreLoader)  # noqa: S506 - a safe one
