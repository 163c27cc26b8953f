"""Checkpoints on disk: written atomically, found by their markers, restored, and removed once scored."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from boxcar.detectors.network import Network
from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.checkpoints import best_scores, list_checkpoints, mark_checkpoint, read_scores, remove_checkpoint
from boxcar.run.layout import checkpoint_name
from boxcar.storage import make_folder, remove_tree
from boxcar.storage.cache import uri_of
from boxcar.storage.local_files import os_errors, sync_folder
from boxcar.storage.plain_path import plain_path
from boxcar.training.divergence import Diverged


class CheckpointStore:
    """The checkpoints of one training. `model/` contains the weights that are scored and exported, under the zoo's names. If
    these are averages, the trained weights are in `trained/`.

    Args:
        train: the run's `train/` folder.
        network: whose weights they hold.
        optimizer: whose slots and step they hold, too.
        averages: the average of a variable by the variable's `id`; empty if the weights themselves are scored.
        dataset_version: written into every marker.
        is_chief: False on the other workers, which take part in saving but leave no file.
    """

    def __init__(
        self,
        train: Path,
        network: Network,
        optimizer: Any,
        averages: Mapping[int, tf.Variable],
        dataset_version: str,
        *,
        is_chief: bool = True,
    ) -> None:
        self._train = train
        self._dataset_version = dataset_version
        self._optimizer = optimizer
        self._is_chief = is_chief
        self._variables = network.variables_by_name()
        self._copies: dict[str, tuple[tf.Variable, tf.Variable]] = {}
        self._start: list[tuple[tf.Variable, Any]] = []
        objects = {"optimizer": optimizer}
        if averages:
            # Copies, because TensorFlow saves a variable once, under its shortest name: an average under the optimizer's.
            for name, variable in self._variables.items():
                source = averages.get(id(variable), variable)
                self._copies[name] = (tf.Variable(tf.zeros_like(source), trainable=False), source)
            objects |= {"model": _tree(self._copies), "trained": network.trackable()}
        else:
            objects["model"] = network.trackable()
        self._checkpoint = tf.train.Checkpoint(**objects)

    def save(self, step: int) -> None:
        """Writes the checkpoint of a step. A checkpoint with NaN or infinity is never written.

        Raises:
            Diverged: the weights are not finite.
            BoxcarError: 69 if they cannot be written.
        """
        for copy, source in self._copies.values():
            copy.assign(source.numpy())
        for name, variable in self._variables.items():
            if not np.isfinite(variable.numpy()).all():
                raise Diverged(step, f"at step {step}, {name} holds values that are not finite")
        # Written under another name first, then renamed: a prefix that exists is whole.
        temporary = make_folder(self._train / (".writing" if self._is_chief else f".writing-{os.getpid()}"))
        try:
            # Every worker takes part: what each keeps a share of is added up here.
            self._checkpoint.write(str(temporary / checkpoint_name(step)))
        except tf.errors.OpError as error:
            raise BoxcarError(
                ExitCode.ENVIRONMENT,
                f"The checkpoint of step {step} cannot be written to {self._train}: {error.message.splitlines()[0]}.",
                "Free disk space. Training resumes from the previous checkpoint.",
                again=True,
            ) from error
        if self._is_chief:
            with os_errors(self._train):
                for path in sorted(temporary.glob(f"{checkpoint_name(step)}.*")):
                    with path.open("rb+") as file:
                        # TensorFlow closes its files without making them durable; the marker must not outlive the data.
                        os.fsync(file.fileno())
                    path.replace(self._train / path.name)
                sync_folder(self._train)
            mark_checkpoint(self._train, step, self._dataset_version)
        remove_tree(temporary)

    def keep_start(self) -> None:
        """Keeps the current weights and optimizer in memory, so that `restore_latest` can return to them before the first
        checkpoint."""
        variables = [*self._variables.values(), *self._optimizer.variables]
        self._start = [(variable, variable.numpy()) for variable in variables]

    def restore_latest(self) -> int:
        """Restores the newest complete checkpoint and returns its step. Without one, it restores the start, if that was
        kept, and returns 0.

        Raises:
            BoxcarError: 65 for a checkpoint that does not fit or cannot be read.
        """
        checkpoints = list_checkpoints(self._train)
        if not checkpoints:
            for variable, value in self._start:
                variable.assign(value)
            return 0
        latest = checkpoints[-1]
        try:
            with plain_path(latest.prefix) as readable:
                self._checkpoint.read(str(readable)).assert_existing_objects_matched()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise BoxcarError(
                ExitCode.DATA,
                f"The checkpoint {uri_of(latest.prefix)} cannot be restored: {str(error).splitlines()[0]}.",
                f"Remove {uri_of(latest.prefix)}.json, so that the previous checkpoint is used.",
                again=True,
            ) from error
        return latest.step

    def unscored(self, evaluation: Path) -> list[int]:
        """Steps of the checkpoints that the evaluator has not scored yet."""
        scored = {score["step"] for score in read_scores(evaluation)}
        return [checkpoint.step for checkpoint in list_checkpoints(self._train) if checkpoint.step not in scored]

    def clear_away(self, evaluation: Path, *, keep_best: int, keep_last: int) -> None:
        """Removes the checkpoints that are scored and neither among the best nor among the newest."""
        scores = read_scores(evaluation)
        scored = {score["step"] for score in scores}
        kept = {score["step"] for score in best_scores(scores, keep_best)}
        for checkpoint in list_checkpoints(self._train)[:-keep_last]:
            if checkpoint.step in scored - kept:
                remove_checkpoint(self._train, checkpoint.step)


def _tree(copies: Mapping[str, tuple[tf.Variable, tf.Variable]]) -> tf.Module:
    """Modules whose checkpoint stores the copies under the names of the originals (`model/a/b`)."""
    root = tf.Module()
    for name, (copy, _) in copies.items():
        node = root
        *path, attribute = name.split("/")[1:]
        for part in path:
            if not hasattr(node, part):
                setattr(node, part, tf.Module())
            node = getattr(node, part)
        setattr(node, attribute, copy)
    return root
