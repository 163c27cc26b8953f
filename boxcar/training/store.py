"""Checkpoints on disk: written atomically, found by their markers, restored, and cleared away once scored."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from boxcar.detectors.network import Network
from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.checkpoints import best_score, list_checkpoints, mark_checkpoint, read_scores, remove_checkpoint
from boxcar.storage import make_folder, remove_tree
from boxcar.storage.local import surroundings, sync_folder
from boxcar.training.settings import DIVERGED

KEEP_LAST = 3


class CheckpointStore:
    """The checkpoints of one training.

    Args:
        train: the run's `train/` folder.
        network: whose weights they hold, under the zoo's names.
        optimizer: whose slots and step they hold besides.
        dataset_version: written into every marker.
    """

    def __init__(self, train: Path, network: Network, optimizer: tf.keras.optimizers.Optimizer, dataset_version: str) -> None:
        self._train = train
        self._network = network
        self._dataset_version = dataset_version
        self._checkpoint = tf.train.Checkpoint(model=network.trackable(), optimizer=optimizer)

    def save(self, step: int) -> None:
        """Writes the checkpoint of a step. A checkpoint with a NaN or an infinity is never written.

        Raises:
            BoxcarError: 65 where the weights are not finite, 69 where they cannot be written.
        """
        for name, variable in self._network.variables_by_name().items():
            if not np.isfinite(variable.numpy()).all():
                raise BoxcarError(
                    ExitCode.DATA,
                    f"Training diverged: at step {step}, {name} holds values that are not finite.",
                    DIVERGED,
                )
        # Written under another name first, then renamed: a prefix that exists is whole.
        temporary = make_folder(self._train / ".writing")
        try:
            self._checkpoint.write(str(temporary / f"ckpt-{step}"))
        except tf.errors.OpError as error:
            raise BoxcarError(
                ExitCode.SURROUNDINGS,
                f"The checkpoint of step {step} cannot be written to {self._train}: {error.message.splitlines()[0]}.",
                "Free disk space, then start it again to go on from the checkpoint before.",
            ) from error
        with surroundings(self._train):
            for path in sorted(temporary.glob(f"ckpt-{step}.*")):
                with path.open("rb+") as file:
                    # TensorFlow closes its files without making them durable; the marker must not outlive the data.
                    os.fsync(file.fileno())
                path.replace(self._train / path.name)
            sync_folder(self._train)
        mark_checkpoint(self._train, step, self._dataset_version)
        remove_tree(temporary)

    def restore_latest(self) -> int:
        """Restores the newest complete checkpoint; its step, or 0 where there is none.

        Raises:
            BoxcarError: 65 for a checkpoint that does not fit or cannot be read.
        """
        checkpoints = list_checkpoints(self._train)
        if not checkpoints:
            return 0
        latest = checkpoints[-1]
        try:
            status = self._checkpoint.read(str(latest.prefix))
            status.assert_existing_objects_matched()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise BoxcarError(
                ExitCode.DATA,
                f"The checkpoint {latest.prefix} cannot be restored: {str(error).splitlines()[0]}.",
                f"Remove {latest.prefix}.json, so that the one before it is used, and run again with --resume.",
            ) from error
        return latest.step

    def unscored(self, evaluation: Path) -> list[int]:
        """Steps of the checkpoints that the evaluator has not scored yet."""
        scored = {score["step"] for score in read_scores(evaluation)}
        return [checkpoint.step for checkpoint in list_checkpoints(self._train) if checkpoint.step not in scored]

    def clear_away(self, evaluation: Path) -> None:
        """Removes the checkpoints that nobody needs: scored, not the best, and not among the last three."""
        scores = read_scores(evaluation)
        best = best_score(scores)
        scored = {score["step"] for score in scores}
        for checkpoint in list_checkpoints(self._train)[:-KEEP_LAST]:
            if checkpoint.step in scored and best is not None and checkpoint.step != best["step"]:
                remove_checkpoint(self._train, checkpoint.step)
