"""How labelled pictures lie in a folder: which XML belongs to which picture.

An XML's picture is, in this order:
1. the picture of its own name (`a.xml`: `a.jpg`) beside it,
2. the same in a picture folder that belongs to the XML's folder: for `annotations/x` that is `images/x`, then `images`
   (and `JPEGImages`, `Images` and so on), then the folder that holds `annotations`,
3. and 4. the picture that its `<filename>` names, with or without suffix, in the same places.
The `<path>` that labelImg writes is another computer's and is not read.
"""

import os
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.examine import Pair, read_file
from boxcar.records.faults import Fault, FaultyError, Kind, shown
from boxcar.records.pictures import SUFFIXES
from boxcar.records.voc import LARGEST_XML, read_annotation

_IS_PICTURE = {**{suffix.encode(): 1 for suffix in SUFFIXES}, b".xml": 0}
PICTURE_FOLDERS = frozenset({b"images", b"jpegimages", b"image", b"imgs", b"img", b"pictures", b"photos"})
XML_FOLDERS = frozenset({b"annotations", b"annotation", b"xmls", b"xml", b"labels"})

# All files, which picture is whose, and the XML files that found none by their own name.
LAYOUT_SCHEMA = """
CREATE TABLE files (
    picture INT, folder BLOB, stem BLOB, name BLOB, PRIMARY KEY (picture, folder, stem, name)
) WITHOUT ROWID;
CREATE TABLE taken (
    folder BLOB, name BLOB, xml_folder BLOB, xml_name BLOB, PRIMARY KEY (folder, name)
) WITHOUT ROWID;
CREATE TABLE unpaired (xml BLOB);
"""
# One XML and one picture of its name beside it: almost always all of them, so they are paired in one go.
_PAIR_PLAIN = """
INSERT INTO taken SELECT x.folder, p.name, x.folder, x.name
FROM files x JOIN files p ON p.picture = 1 AND p.folder = x.folder AND p.stem = x.stem
WHERE x.picture = 0 GROUP BY x.folder, x.stem HAVING COUNT(*) = 1
"""
_OTHER_XMLS = """
SELECT folder, name, stem FROM files x
WHERE picture = 0 AND 1 != (SELECT COUNT(*) FROM files p WHERE p.picture = 1 AND p.folder = x.folder AND p.stem = x.stem)
    * (SELECT COUNT(*) FROM files y WHERE y.picture = 0 AND y.folder = x.folder AND y.stem = x.stem)
ORDER BY folder, stem, name
"""


class Layout:
    """All pictures and XML files below a folder, kept in SQLite's temporary storage: memory does not grow with them.

    Args:
        root: the data folder.
        leave_out: a folder that is passed over where it lies below `root`: the step's own output.
        database: holds the tables of `LAYOUT_SCHEMA`.

    Raises:
        BoxcarError: 69 where a folder may not be read.
    """

    def __init__(self, root: Path, leave_out: Path, database: sqlite3.Connection) -> None:
        self.root = root
        self.faults: list[Fault] = []
        self._database = database
        database.executemany("INSERT INTO files VALUES (?, ?, ?, ?)", _walk(root, leave_out))
        files, pictures = database.execute("SELECT COUNT(*), TOTAL(picture) FROM files").fetchone()
        self.pictures, self.xmls = int(pictures), files - int(pictures)

    def pairs(self) -> Iterator[Pair]:
        """Every picture and every XML once. What is wrong with the pairing itself is added to `faults`."""
        self._database.execute(_PAIR_PLAIN)
        for folder, name, xml_folder, xml_name in self._database.execute("SELECT * FROM taken ORDER BY folder, name"):
            yield Pair(_joined(folder, name), _joined(xml_folder, xml_name))
        for folder, name, stem in self._database.execute(_OTHER_XMLS):
            yield from self._by_stem(folder, name, stem)
        for (xml,) in self._database.execute("SELECT xml FROM unpaired ORDER BY xml"):
            yield from self._by_filename(xml)
        left = self._database.execute(
            "SELECT folder, name FROM files f WHERE picture = 1 AND NOT EXISTS"
            " (SELECT 1 FROM taken t WHERE t.folder = f.folder AND t.name = f.name) ORDER BY folder, stem, name"
        )
        for folder, name in left:
            yield Pair(_joined(folder, name), None)

    def _by_stem(self, folder: bytes, name: bytes, stem: bytes) -> Iterator[Pair]:
        xml = _joined(folder, name)
        for place in self._places(folder):
            found = self._pictures(place, stem)
            if len(found) > 1:
                # Two pictures of one name: the XML may say which one it means; the other cannot have boxes of its own.
                named = self._filename(xml)
                meant = named if named in found else found[0]
                for other in found:
                    if other != meant and self._take(place, other, xml) is None:
                        self._blame(_joined(place, other), "same_stem", f"{shown(xml)} could be its XML or {shown(meant)}'s")
                found = [meant]
            if found and self._take(place, found[0], xml) is None:
                yield Pair(_joined(place, found[0]), xml)
                return
        self._database.execute("INSERT INTO unpaired VALUES (?)", (xml,))

    def _by_filename(self, xml: bytes) -> Iterator[Pair]:
        folder = xml.rpartition(b"/")[0]
        named = self._filename(xml)
        owner = None
        for place in self._places(folder) if named else ():
            for name in self._named(place, named):
                owner = self._take(place, name, xml)
                if owner is None:
                    yield Pair(_joined(place, name), xml)
                    return
                break
            if owner is not None:
                break
        if owner is None:
            yield Pair(None, xml)
        else:
            self._blame(xml, "two_annotations", f"it is about {shown(named)}, which {shown(owner)} describes already")

    def _named(self, place: bytes, named: bytes) -> list[bytes]:
        same = self._pictures(place, _stem(named))
        return [named] if named in same else self._pictures(place, named) or same

    def _pictures(self, folder: bytes, stem: bytes) -> list[bytes]:
        rows = self._database.execute(
            "SELECT name FROM files WHERE picture = 1 AND folder = ? AND stem = ? ORDER BY name", (folder, stem)
        )
        return [row[0] for row in rows]

    def _take(self, folder: bytes, name: bytes, xml: bytes) -> bytes | None:
        """Makes a picture an XML's own; the XML that has it already, where one does."""
        owner = self._database.execute(
            "SELECT xml_folder, xml_name FROM taken WHERE folder = ? AND name = ?", (folder, name)
        ).fetchone()
        if owner is not None:
            return _joined(*owner)
        xml_folder, _, xml_name = xml.rpartition(b"/")
        self._database.execute("INSERT INTO taken VALUES (?, ?, ?, ?)", (folder, name, xml_folder, xml_name))
        return None

    def _filename(self, xml: bytes) -> bytes:
        """What an XML gives as `<filename>`; nothing where it cannot be read, which its examination will report."""
        try:
            content, _ = read_file(self.root, xml, LARGEST_XML, "xml_too_large")
            return os.fsencode(read_annotation(content).filename or "")
        except FaultyError:
            return b""

    @lru_cache(maxsize=64)  # noqa: B019 - one layout lives as long as its step
    def _places(self, folder: bytes) -> list[bytes]:
        """The folders in which an XML's picture is looked for, the likeliest first."""
        places = [folder]
        parts = folder.split(b"/")
        for index in reversed(range(len(parts))):
            if parts[index].lower() in XML_FOLDERS:
                before, after = parts[:index], parts[index + 1 :]
                for sibling in self._picture_folders(b"/".join(before)):
                    places += [b"/".join([*before, sibling, *after]), b"/".join([*before, sibling])]
                places.append(b"/".join(before))
        return list(dict.fromkeys(places))

    def _picture_folders(self, parent: bytes) -> list[bytes]:
        path = os.path.join(os.fsencode(self.root), parent)  # noqa: PTH118 - names need not be text
        return sorted(name for name in os.listdir(path) if name.lower() in PICTURE_FOLDERS)  # noqa: PTH208

    def _blame(self, file: bytes, kind: Kind, reason: str) -> None:
        self.faults.append(Fault(shown(file), kind, reason))


def _walk(root: Path, leave_out: Path) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    """(is a picture, folder, stem, name) of all pictures and XML files. Links to folders are followed, each folder once."""
    top = os.fsencode(root)
    seen = {_identity(os.fsencode(leave_out))}

    def refuse(error: OSError) -> None:
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"{shown(os.fsencode(error.filename))} cannot be read: {error.strerror}.",
            "Give yourself the right to read it, then run the same command again.",
        ) from error

    for parent, folders, names in os.walk(top, onerror=refuse, followlinks=True):
        identity = _identity(parent)
        if identity in seen and parent != top:
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = sorted(name for name in folders if not name.startswith(b"."))
        relative = b"" if parent == top else os.path.relpath(parent, top)
        for name in names:
            stem, suffix = os.path.splitext(name)  # noqa: PTH122 - names need not be text
            picture = _IS_PICTURE.get(suffix.lower())
            if picture is not None and not name.startswith(b"."):
                yield picture, relative, stem, name


def _identity(path: bytes) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - names need not be text
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _stem(name: bytes) -> bytes:
    return os.path.splitext(name)[0]  # noqa: PTH122 - names need not be text


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name
