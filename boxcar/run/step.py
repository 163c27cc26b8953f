"""A step commits its folder by writing `step.json` last. A folder without a valid `step.json` is not finished.

`step.json` contains the step's name, the size and SHA-256 of every file, the hashes of its inputs, the code version, the
parameters, and the duration. While a step writes, its folder contains `.unfinished`. It shows a later start that the files
there are the step's own and may be removed. Files in other folders are never removed.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boxcar import __version__
from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import COMMIT, SIGNATURE, UNFINISHED
from boxcar.storage import file_sha256, is_temporary, list_files, lock, make_folder, remove_tree, replace_json
from boxcar.storage.cache import uri_of
from boxcar.storage.local_files import os_errors


@dataclass(frozen=True)
class Committed:
    """A finished step as its `step.json` describes it."""

    folder: Path
    step: str
    files: dict[str, dict[str, Any]]  # relative path -> {"bytes": int, "sha256": str}
    inputs: dict[str, str]
    parameters: dict[str, Any]
    code_version: str
    seconds: float

    @property
    def digest(self) -> str:
        """SHA-256 over the names and hashes of the step's files: equal digests mean equal outputs."""
        lines = "".join(f"{entry['sha256']}  {name}\n" for name, entry in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


def read_commit(folder: Path, step: str) -> Committed | None:
    """The finished step in a folder, or None if there is none that is valid.

    It is valid if `step.json` belongs to this step and every file that it lists has the listed size and SHA-256.
    """
    try:
        record = json.loads((folder / COMMIT).read_text(encoding="utf-8"))
        committed = Committed(
            folder=folder,
            step=record["step"],
            files=record["files"],
            inputs=record["inputs"],
            parameters=record["parameters"],
            code_version=record["code_version"],
            seconds=record["seconds"],
        )
        if committed.step != step or changed_file(folder, committed.files) is not None:
            return None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return committed


def changed_file(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The first file in a folder that is not as `step.json` lists it; None if all are.

    Args:
        folder: the step's.
        files: as in `Committed`.

    Raises:
        FileNotFoundError: one is missing.
    """
    for name, entry in files.items():
        path = folder / name
        if path.stat().st_size != entry["bytes"] or file_sha256(path) != entry["sha256"]:
            return name
    return None


def require_commit(folder: Path, step: str) -> Committed:
    """The finished step in a folder.

    Raises:
        BoxcarError: 64 if there is no finished step; 65 if files are missing or changed.
    """
    committed = read_commit(folder, step)
    if committed is not None:
        return committed
    if (folder / COMMIT).exists():
        raise BoxcarError(
            ExitCode.DATA,
            f"The files in {uri_of(folder)} are not those that its {COMMIT} lists.",
            f"Run `boxcar {step}` again for that folder.",
        )
    raise BoxcarError(
        ExitCode.USAGE, f"{uri_of(folder)} holds no finished {step} step.", f"Run `boxcar {step}` for that folder first."
    )


def started_identity(folder: Path, step: str) -> str | None:
    """SHA-256 of the inputs and parameters of the step that was started or finished in a folder; None if none was."""
    started = _read_started(folder)
    if started is None or started["step"] != step:
        return None
    return hashlib.sha256(json.dumps(started, sort_keys=True).encode()).hexdigest()


def _read_started(folder: Path) -> dict[str, Any] | None:
    """What the markers say about the step that was finished or started in a folder; None if no marker can be read."""
    for name in (COMMIT, UNFINISHED):
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8"))
            return {"step": str(found["step"]), "inputs": dict(found["inputs"]), "parameters": dict(found["parameters"])}
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            continue
    return None


@dataclass
class Step:
    """A step that writes into a folder.

    Args:
        name: the step's name, as in `boxcar <name>`.
        folder: the folder that it writes.
        inputs: the hashes of what it reads, by name. Inputs and parameters decide whether the step is already done.
        parameters: every setting that affects the output.
        owns: the names directly below `folder` that belong to this step, if it shares the folder (`export/` also contains
            `saved_model/`); None if all of them do.
        resumable: whether the step resumes what an unfinished start left (training, evaluation). If not, leftovers are removed.
        if_changed: what to do if a resumable step was started with other settings or data.
        hashed: files (as in `Committed.files`) whose hash the step already knows; they need not be in the folder. `commit`
            hashes the others.
    """

    name: str
    folder: Path
    inputs: Mapping[str, str]
    parameters: Mapping[str, Any]
    owns: Sequence[str] | None = None
    resumable: bool = False
    if_changed: str = "Repeat the settings that it was started with, or choose another folder."
    hashed: dict[str, dict[str, Any]] = field(default_factory=dict)
    committed: Committed | None = field(default=None, init=False)  # set by `commit`
    started: float = field(default_factory=time.monotonic)

    def done(self) -> Committed | None:
        """The finished step with the same inputs and parameters, or None."""
        committed = read_commit(self.folder, self.name)
        if committed is not None and {"inputs": committed.inputs, "parameters": committed.parameters} == self._identity():
            return committed
        return None

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """The folder to write into. Commits at the end. After an error, removes what was written unless it is resumable.

        Raises:
            BoxcarError: 64 if the folder contains files of others; 69 if it cannot be written or another process writes there.
        """
        self.check()
        descriptor = lock(make_folder(self.folder))
        try:
            self.begin()
            try:
                yield self.folder
                self.commit()
            except BaseException:
                if not self.resumable:
                    self._clear()
                raise
        finally:
            os.close(descriptor)

    def begin(self) -> None:
        """Marks the folder as this step's, and removes old files unless the step is resumable."""
        self.check()
        make_folder(self.folder)
        # The process may be killed in between. So `.unfinished` exists before the first new file, and `step.json` is removed
        # before the first old one.
        replace_json(self.folder / UNFINISHED, {"step": self.name, **self._identity()})
        with os_errors(self.folder):
            (self.folder / COMMIT).unlink(missing_ok=True)
        if not self.resumable:
            for name in self._owned():
                remove_tree(self.folder / name)

    def check(self) -> None:
        """Raises BoxcarError 64 if this step must not write into the folder. Changes nothing.

        A resumable step may only continue with the same inputs and parameters, so that hours of work are not removed.
        """
        self.check_folder()
        started = _read_started(self.folder)
        if started is None:
            return
        if not self.resumable and (added := self._added()):
            raise BoxcarError(
                ExitCode.USAGE,
                f"{uri_of(self.folder)} contains files that {self.name} did not write and would remove, such as {added[0]}.",
                "Move them away, or choose another folder.",
            )
        if self.resumable and (changed := self._changed(started)):
            raise BoxcarError(
                ExitCode.USAGE,
                f"{uri_of(self.folder)} was started with other settings or data: {', '.join(changed)}.",
                self.if_changed,
            )

    def check_folder(self) -> None:
        """The part of `check` that does not depend on inputs and parameters, for steps that work before they know them.

        Raises:
            BoxcarError: 64 if the folder is a file or contains files of others.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise BoxcarError(ExitCode.USAGE, f"{uri_of(self.folder)} is a file.", "Choose a folder to write into.")
        started = _read_started(self.folder)
        if started is None:
            # A killed process may have left the temporary file of the first marker, and nothing else.
            foreign = [name for name in self._owned() if not is_temporary(name)]
            if foreign:
                raise BoxcarError(
                    ExitCode.USAGE,
                    f"{uri_of(self.folder)} already holds files that no {self.name} step wrote (for example {foreign[0]}).",
                    "Choose another folder, or move those files away.",
                )
        elif started["step"] != self.name:
            raise BoxcarError(
                ExitCode.USAGE,
                f"{uri_of(self.folder)} contains the results of the step {started['step']}, which {self.name} would remove.",
                "Choose another folder.",
            )

    def _added(self) -> list[str]:
        """The files that a person has added to the finished step's own ones. Of an unfinished step, nobody knows."""
        try:
            listed = json.loads((self.folder / COMMIT).read_text(encoding="utf-8"))["files"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return []
        owned = set(self._owned())
        own = {*listed, COMMIT, UNFINISHED}
        found = [name for name in list_files(self.folder) if name.split("/")[0] in owned and name not in own]
        return [name for name in found if name.rpartition("/")[2] != SIGNATURE]

    def _changed(self, started: dict[str, Any]) -> list[str]:
        """A description of what differs between this step and the one that was started."""
        wanted = self._identity()
        old, new = started["parameters"], wanted["parameters"]
        words = [
            f"{key} was {old.get(key)} and is now {new.get(key)}" for key in {**old, **new} if old.get(key) != new.get(key)
        ]
        return words or ([] if started["inputs"] == wanted["inputs"] else ["its inputs have changed"])

    def _identity(self) -> Any:
        # Through JSON, which turns tuples into lists, because it is compared with values read from JSON.
        return json.loads(json.dumps({"inputs": dict(self.inputs), "parameters": dict(self.parameters)}))

    def commit(self) -> Committed:
        """Writes `step.json`, which finishes the step."""
        files = {}
        for name in sorted({*list_files(self.folder), *self.hashed}):
            if name == COMMIT or (self.owns is not None and name.split("/")[0] not in self.owns):
                continue
            path = self.folder / name
            files[name] = self.hashed.get(name) or {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        record: dict[str, Any] = {
            "step": self.name,
            "files": files,
            "inputs": dict(self.inputs),
            "parameters": dict(self.parameters),
            "code_version": __version__,
            "seconds": round(time.monotonic() - self.started, 2),
        }
        replace_json(self.folder / COMMIT, record)
        (self.folder / UNFINISHED).unlink(missing_ok=True)
        self.committed = Committed(folder=self.folder, **record)
        return self.committed

    def _owned(self) -> list[str]:
        """The names directly below the folder that belong to this step, without its two markers."""
        names = sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []
        return [n for n in names if n not in (COMMIT, UNFINISHED) and (self.owns is None or n in self.owns)]

    def _clear(self) -> None:
        """Removes what an interrupted step wrote, and the folder if it is then empty."""
        (self.folder / COMMIT).unlink(missing_ok=True)  # the interruption may have come right after the commit
        for name in self._owned():
            remove_tree(self.folder / name)
        (self.folder / UNFINISHED).unlink(missing_ok=True)
        if self.folder.exists() and not any(self.folder.iterdir()):
            self.folder.rmdir()
