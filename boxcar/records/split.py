"""Which picture goes to which split.

Folders named train, test, val or validation are kept as the split. Pictures in `train` and those in none of these folders
are one pool; a split that no folder gives is taken out of it by a seeded hash of the picture's content: the hash is a
number in [0, 1), test has the lowest, validation the next, train the rest. So a picture stays where it is when others
are added, and byte-identical ones stay together.

Where a frozen test split is given, it is the test split, by content and wherever its pictures lie. A picture in a folder named
test that is not of it is in no split: whoever put it there did not mean it to be trained on.
"""

import hashlib
import os
import sqlite3
from collections.abc import Set

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.faults import Fault, shown

SPLITS = ("train", "validation", "test")

# Of byte-identical pictures the one with the lowest rank is kept; rank 2 is the pool.
SCHEMA = """
CREATE TABLE pictures (
    name BLOB, sha256 BLOB, folder TEXT, split TEXT, position REAL, size INT, modified INT, width INT, height INT,
    treatment TEXT, turn INT, objects TEXT, digest BLOB,
    rank INT AS (CASE folder WHEN 'test' THEN 0 WHEN 'validation' THEN 1 ELSE 2 END)
);
"""


_FOLDERS = {"train": "train", "test": "test", "val": "validation", "validation": "validation"}


def folder_split(path: str) -> str | None:
    """The split that a folder on the path names, the innermost one where several do."""
    for part in reversed(path.split("/")[:-1]):
        if part.lower() in _FOLDERS:
            return _FOLDERS[part.lower()]
    return None


def position(sha256: bytes, seed: int) -> float:
    """Where a picture lies in [0, 1), by its content alone."""
    digest = hashlib.sha256(b"%d:" % seed + sha256.hex().encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def assign_splits(
    database: sqlite3.Connection,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    frozen_test: Set[str] = frozenset(),
) -> list[Fault]:
    """Fills the column `split` of the table `pictures` (`SCHEMA`) from `name`, `sha256` and `folder`.

    Args:
        database: `folder` is the split that the picture's path names, or NULL. Rows that lie byte-identical in a split
            that is kept before theirs (test, then validation, then train) are removed.
        validation_fraction, test_fraction: shares of the pool, each where no folder gives that split.
        seed: another seed gives another split.
        frozen_test: SHA-256, hexadecimal, of the pictures that alone are the test split; empty where none was chosen before.

    Returns:
        One fault for each picture that was removed.

    Raises:
        BoxcarError: 65 where there are too few distinct pictures for the splits, or none of the frozen test split.
    """
    if frozen_test:
        _freeze(database, frozen_test)
    faults = _remove_duplicates(database)
    if frozen_test:
        faults += _remove_unfrozen(database, frozen_test)
    given = {row[0] for row in database.execute("SELECT DISTINCT folder FROM pictures WHERE folder IS NOT NULL")}
    wanted = [split for split in ("test", "validation") if split not in given]
    distinct = _number(database, "SELECT COUNT(DISTINCT sha256) FROM pictures WHERE rank = 2")
    if distinct < 1 + len(wanted):
        raise BoxcarError(
            ExitCode.DATA,
            f"There are too few different pictures: {distinct} where train{''.join(f' and {split}' for split in wanted)}"
            " need one each.",
            "Add labelled pictures.",
        )
    database.create_function("position", 2, position, deterministic=True)
    database.execute("UPDATE pictures SET split = folder WHERE rank < 2")
    database.execute("UPDATE pictures SET position = position(sha256, ?), split = 'train' WHERE rank = 2", (seed,))
    bounds = {"test": (0.0, test_fraction), "validation": (test_fraction, test_fraction + validation_fraction)}
    for split in wanted:
        database.execute(
            "UPDATE pictures SET split = ? WHERE rank = 2 AND position >= ? AND position < ?", (split, *bounds[split])
        )
    shares = {"test": test_fraction, "validation": validation_fraction}
    for split in (*wanted, "train"):
        share = shares.get(split, 1 - sum(shares[other] for other in wanted))
        _fill(database, split, [*wanted, "train"], round(share * distinct))
    return faults


def _fill(database: sqlite3.Connection, split: str, pool: list[str], wish: int) -> None:
    """Gives a split that hashing has left empty the lowest hashes of the largest other split of the pool."""
    sizes = {
        name: _number(database, "SELECT COUNT(DISTINCT sha256) FROM pictures WHERE rank = 2 AND split = ?", name)
        for name in pool
    }
    if sizes[split]:
        return
    donor = max(pool, key=lambda name: sizes[name])
    # The donor keeps at least one, and enough for the other splits that may be empty still.
    count = max(1, min(wish, sizes[donor] - sum(not size for size in sizes.values())))
    database.execute(
        "UPDATE pictures SET split = ? WHERE sha256 IN (SELECT sha256 FROM pictures"
        " WHERE rank = 2 AND split = ? GROUP BY sha256 ORDER BY MIN(position), sha256 LIMIT ?)",
        (split, donor, count),
    )


def _freeze(database: sqlite3.Connection, frozen_test: Set[str]) -> None:
    """Treats the pictures of a frozen test split as if they lay in a folder named test."""
    database.executemany(
        "UPDATE pictures SET folder = 'test' WHERE sha256 = ?", ((bytes.fromhex(sha256),) for sha256 in sorted(frozen_test))
    )


def _remove_unfrozen(database: sqlite3.Connection, frozen_test: Set[str]) -> list[Fault]:
    """Removes what lies in a folder named test and is not of the frozen test split."""
    found = database.execute("SELECT name, sha256 FROM pictures WHERE rank = 0 ORDER BY name").fetchall()
    others = [name for name, sha256 in found if sha256.hex() not in frozen_test]
    if len(others) == len(found):
        raise BoxcarError(
            ExitCode.DATA,
            f"None of the {len(frozen_test)} pictures of the frozen test split is in the data.",
            "Put them back into the data, or name the list that belongs to it as --frozen-test.",
        )
    database.executemany("DELETE FROM pictures WHERE name = ?", ((name,) for name in others))
    reason = "it lies in a folder named test and is not of the frozen test split"
    return [Fault(shown(os.fsdecode(name)), "not_in_frozen_test", reason, "in no split") for name in others]


def _remove_duplicates(database: sqlite3.Connection) -> list[Fault]:
    faults = []
    twice = database.execute(
        "SELECT sha256, MIN(rank) FROM pictures GROUP BY sha256 HAVING COUNT(DISTINCT rank) > 1"
    ).fetchall()
    for sha256, kept in twice:
        split = ("test", "validation")[kept]
        same = database.execute("SELECT name, rank FROM pictures WHERE sha256 = ? ORDER BY rank, name", (sha256,)).fetchall()
        original = shown(os.fsdecode(same[0][0]))
        for name, rank in same:
            if rank != kept:
                reason = f"it is byte-identical to {original}, which is in the {split} split"
                faults.append(Fault(shown(os.fsdecode(name)), "duplicate_across_splits", reason, f"kept in {split} only"))
        database.execute("DELETE FROM pictures WHERE sha256 = ? AND rank != ?", (sha256, kept))
    return sorted(faults)


def _number(database: sqlite3.Connection, query: str, *values: object) -> int:
    return int(database.execute(query, values).fetchone()[0])
