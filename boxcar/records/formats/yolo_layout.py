"""What the files beside a YOLO data set's labels say: the classes, and the split of the images.

- `data.yaml` of Ultralytics and Roboflow, under any name: `names`, `nc`, `path`, `train`, `val`, `test`, `kpt_shape`.
- `obj.data` of Darknet and CVAT: `classes`, `names`, `train`, `valid`.
- `obj.names`, Roboflow's `_darknet.labels`, and the `classes.txt` of labelImg and CVAT: a class per line, ids from 0.
- `train.txt`, `valid.txt`, and `test.txt`: an image per line. They count by their names if no other file gives the split.

Their paths were those of another computer as often as not. A path is looked for where it says, and otherwise as its longest end
that is in the folder of the file that has it or, after that, in one of the folders above.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.faults import FaultyError, shown
from boxcar.records.formats.paths import joined, located
from boxcar.records.formats.text import decoded
from boxcar.records.images import is_image
from boxcar.records.reader import DataFiles

CLASSES = "classes.txt"
_LARGEST = 200_000  # bytes of a file with class names: some 5,000; PyYAML needs seconds for this much
_SHOWN = 300  # characters of a path
_MOST_YAML = 100  # files that are looked at; those in the fewest folders first
SPLIT_KEYS = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
_NAMES = re.compile(r"(?:^|[\s{,\"'])names[\"']?\s*[:=]")
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


class Claim(NamedTuple):
    """That the images in a folder, or those that a list names, belong to a split."""

    file: str  # that says so
    key: str  # under which
    target: str  # the folder ("" is the data folder) or the list, relative to the data folder
    is_list: bool
    split: int


@dataclass
class Description:
    """What one file says."""

    file: str
    names: dict[int, str] = field(default_factory=dict)  # of the classes by id; empty if it names none
    claims: list[Claim] = field(default_factory=list)
    keypoints: bool = False  # whether key points follow the boxes
    moved: list[str] = field(default_factory=list)  # "FOUND for GIVEN"
    missing: list[str] = field(default_factory=list)  # "KEY (GIVEN)"


@dataclass(frozen=True)
class Layout:
    """What the files beside the labels say together.

    Attributes:
        files: all of them.
        class_list: the one that names the classes; "" if none does.
        names: of the classes by id.
        claims: the splits.
        keypoints: whether key points follow the boxes.
        digest: of the classes and the splits.
        notes: what the person should know, one sentence each.
    """

    files: frozenset[str]
    class_list: str
    names: Mapping[int, str]
    claims: tuple[Claim, ...]
    keypoints: bool
    digest: bytes
    notes: tuple[str, ...]


def class_files(names: Sequence[str]) -> list[str]:
    """The files that may name classes, by their names. `predefined_classes.txt` only lists what labelImg suggests."""
    yaml = [name for name in names if name.lower().endswith((".yaml", ".yml"))]
    yaml.sort(key=lambda name: (name.count("/"), name))
    return yaml[:_MOST_YAML] + [
        name for name in names if name.lower().endswith((".names", ".labels", ".data")) or _base(name).lower() == CLASSES
    ]


def read_layout(files: DataFiles) -> Layout:
    """Reads the files beside the labels.

    Raises:
        BoxcarError: 64 if two files, or two lines of one, contradict each other; 65 if one cannot be understood.
    """
    found: dict[str, Description] = {}
    for file in class_files(files.names):
        for description in _described(files, file):
            found.setdefault(description.file, description)
    lists = [one for one in found.values() if one.names]
    for one in lists[1:]:
        _require_same_classes(lists[0], one)
    claims = _claims(list(found.values())) or _lists_by_name(files)
    digest = hashlib.sha256(repr(sorted(lists[0].names.items()) if lists else []).encode())
    for claim in claims:
        digest.update(repr((claim.target, claim.split)).encode("utf-8", "surrogateescape"))
        if claim.is_list:
            digest.update(_digest(files, claim.target))
    return Layout(
        files=frozenset(found) | {claim.target for claim in claims if claim.is_list},
        class_list=lists[0].file if lists else "",
        names=lists[0].names if lists else {},
        claims=tuple(claims),
        keypoints=any(one.keypoints for one in found.values()),
        digest=digest.digest(),
        notes=tuple(note for one in found.values() for note in _notes(one)),
    )


def _described(files: DataFiles, file: str) -> Iterator[Description]:
    suffix = file.rpartition(".")[2].lower()
    if suffix == "data":
        yield from _of_darknet(files, file)
    elif suffix not in ("yaml", "yml"):
        yield Description(file, _listed_names(_text(files, file)))
    elif _NAMES.search(text := _text(files, file)) and (found := _of_yaml(files, file, text)) is not None:
        yield found


def _text(files: DataFiles, file: str) -> str:
    content = files.beginning(file, _LARGEST + 1)
    if len(content) > _LARGEST:
        if not _NAMES.search(content.decode("utf-8", "replace")) and not file.lower().endswith((".names", CLASSES)):
            return ""
        raise _unreadable(file, f"it has more than {_LARGEST:,} bytes")
    try:
        return decoded(content)
    except FaultyError as error:
        raise _unreadable(file, error.reason) from error


def _unreadable(file: str, reason: str) -> BoxcarError:
    return BoxcarError(ExitCode.DATA, f"The class list {shown(file)} cannot be read: {reason}.", "Correct or remove it.")


def _listed_names(text: str) -> dict[int, str]:
    """The classes of a text with one per line. An empty line is a class without a name."""
    return dict(enumerate(" ".join(line.split()) for line in text.rstrip().splitlines()))


def _of_darknet(files: DataFiles, file: str) -> Iterator[Description]:
    """What a file such as `obj.data` says, and the class list that it names."""
    text = _text(files, file)
    if not _NAMES.search(text):
        return
    pairs = [line.partition("=") for line in text.splitlines()]
    values = {key.strip(): value.strip() for key, _, value in pairs}
    yield (found := Description(file))
    named = None if "names" not in values else located(files.names, file, values["names"])
    if named is not None and named[1]:
        names = _listed_names(_text(files, named[0]))
        _require_count(file, "classes", values.get("classes", ""), len(names), f"{shown(named[0])} names")
        yield Description(named[0], names)
    for key, split in SPLIT_KEYS.items():
        if values.get(key):
            _claim(files.names, found, key, split, "", values[key])


def _of_yaml(files: DataFiles, file: str, text: str) -> Description | None:
    """What a file such as `data.yaml` says; None if it names no classes, and so is another program's."""
    import yaml

    try:
        # Only text: `no` and `1` are names of classes as well.
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _unreadable(file, f"the YAML is broken ({' '.join(str(error).split())[:200]})") from error
    except RecursionError as error:
        raise _unreadable(file, "the YAML is nested too deeply") from error
    if not isinstance(root, yaml.MappingNode):
        return None
    entries = {key.value: value for key, value in root.value if isinstance(key, yaml.ScalarNode)}
    if "names" not in entries:
        return None
    found = Description(file, _named(file, entries["names"]), keypoints="kpt_shape" in entries)
    if found.names:
        _require_count(file, "nc", _values(file, "nc", entries.get("nc"), [""])[0], len(found.names), "it names")
    path = _values(file, "path", entries.get("path"), [""])[0]
    for key, split in SPLIT_KEYS.items():
        for given in _values(file, key, entries.get(key), []):
            _claim(files.names, found, key, split, path, given)
    return found


def _named(file: str, node: object) -> dict[int, str]:
    """The classes of the YAML key `names`: a list, or a mapping from ids."""
    import yaml

    if isinstance(node, yaml.SequenceNode):
        pairs = [(str(number), value) for number, value in enumerate(node.value)]
    elif isinstance(node, yaml.MappingNode):
        pairs = [(key.value if isinstance(key, yaml.ScalarNode) else "", value) for key, value in node.value]
    else:
        raise _unreadable(file, "its names are neither a list nor a mapping")
    names: dict[int, str] = {}
    for key, value in pairs:
        if not _NUMBER.fullmatch(key):
            raise _unreadable(file, f"its names have the key {shown(key[:40])!r}, which is no class id")
        if not isinstance(value, yaml.ScalarNode):
            raise _unreadable(file, f"the name of its class {int(key)} is not a text")
        name = " ".join(value.value.split())
        if any("\ud800" <= sign <= "\udfff" for sign in name):
            raise _unreadable(file, f"the name of its class {int(key)} has half a character")
        if names.setdefault(int(key), name) != name:
            what = f"{shown(file)} names the class {int(key)} twice: {shown(names[int(key)])} and {shown(name)}."
            raise BoxcarError(ExitCode.USAGE, what, "Correct its names.")
    return names


def _values(file: str, key: str, node: object, absent: list[str]) -> list[str]:
    """The texts of a YAML key that has one or a list of them."""
    import yaml

    items: list[Any] = node.value if isinstance(node, yaml.SequenceNode) else [] if node is None else [node]
    if not all(isinstance(item, yaml.ScalarNode) for item in items):
        raise _unreadable(file, f"its {key} is neither a text nor a list of texts")
    return [item.value.strip() for item in items if item.value.strip() not in ("", "~", "null")] or absent


def _require_count(file: str, key: str, given: str, count: int, who: str) -> None:
    if given and not (_NUMBER.fullmatch(given) and int(given) == count):
        what = f"{shown(file)} says {key}: {shown(given[:40])}, but {who} {count} class{'' if count == 1 else 'es'}."
        raise BoxcarError(ExitCode.USAGE, what, "Correct the number or the names.")


def _require_same_classes(one: Description, other: Description) -> None:
    if one.names == other.names:
        return
    ids = sorted(one.names.keys() | other.names.keys())
    first = next(number for number in ids if one.names.get(number) != other.names.get(number))
    said = [f"{shown(each.names[first])!r}" if first in each.names else "missing" for each in (one, other)]
    raise BoxcarError(
        ExitCode.USAGE,
        f"The class lists {shown(one.file)} and {shown(other.file)} differ: class {first} is {said[0]} in the first and "
        f"{said[1]} in the second.",
        "Correct or remove the wrong one.",
    )


def _claim(names: Sequence[str], found: Description, key: str, split: int, path: str, given: str) -> None:
    """Adds what a key such as `train` claims, or the note that it does not exist.

    `path` is the folder that `given` is relative to, itself relative to the file's folder; "" for that one.
    """
    given = joined(path, given)
    place = located(names, found.file, given)
    if place is None:
        found.missing.append(f"{key} ({shown(given[:_SHOWN])})")
        return
    target, is_list, exact = place
    if not exact:
        found.moved.append(f"{shown(target) or 'the data folder'} for {shown(given)}")
    found.claims.append(Claim(found.file, key, target, is_list, split))


def _claims(found: Sequence[Description]) -> list[Claim]:
    """The claims of the files, which must agree."""
    some = [one for one in found if one.claims]
    if not some:
        return []
    first = some[0]
    for one in some[1:]:
        if {claim[2:] for claim in one.claims} != {claim[2:] for claim in first.claims}:
            what = f"{shown(first.file)} and {shown(one.file)} divide the images into different splits."
            raise BoxcarError(ExitCode.USAGE, what, "Remove the wrong one.")
    claims: dict[str, Claim] = {}
    for claim in first.claims:
        other = claims.setdefault(claim.target, claim)
        if other.split != claim.split:
            place = shown(claim.target) or "the data folder"
            what = f"{shown(first.file)} gives {place} as {other.key} and as {claim.key}."
            raise BoxcarError(ExitCode.USAGE, what, "Remove one of them: an image can be in one split only.")
    return list(claims.values())


def _lists_by_name(files: DataFiles) -> list[Claim]:
    """The lists of images whose names say their split."""
    claims = []
    for name in files.names:
        stem, _, suffix = _base(name).lower().rpartition(".")
        if suffix == "txt" and stem in SPLIT_KEYS and is_list(files.beginning(name)):
            claims.append(Claim(name, stem, name, True, SPLIT_KEYS[stem]))
    return claims


def is_list(beginning: bytes) -> bool:
    """Whether a file's first line is the path of an image."""
    lines = beginning.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").split("\n")
    return is_image(next((line.strip() for line in lines if line.strip()), ""))


def _digest(files: DataFiles, name: str) -> bytes:
    digest = hashlib.sha256()
    try:
        with files.open(name) as file:
            while part := file.read(1 << 20):
                digest.update(part)
    except FaultyError:
        pass  # the reading of the list reports it
    return digest.digest()


def _notes(found: Description) -> Iterator[str]:
    if found.moved:
        yield f"Paths in {shown(found.file)} do not exist here. Used instead: {', '.join(found.moved)}."
    if found.missing:
        yield f"Paths in {shown(found.file)} do not exist and were ignored: {', '.join(found.missing)}."


def _base(name: str) -> str:
    return name.rpartition("/")[2]
