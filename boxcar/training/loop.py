"""The training loop: steps, and between them checkpoints, history, the evaluator's word, signals and divergence."""

import contextlib
import logging
import time
from typing import Any

import numpy as np
import orbit
import tensorflow as tf
import tf_keras

from boxcar.data.input_pipeline import Split, batch_members, training_batches
from boxcar.detectors.catalog import build_network
from boxcar.detectors.checkpoint_sources import InitialWeights
from boxcar.detectors.network import Network, load_weights
from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.checkpoints import best_score, has_stalled, read_scores
from boxcar.run.progress import Progress
from boxcar.training.divergence import Diverged, note_rollback, read_rollbacks
from boxcar.training.heartbeat import Heart
from boxcar.training.history import History
from boxcar.training.optimizers import averaged_variables
from boxcar.training.panel import make_panel
from boxcar.training.plan import Plan
from boxcar.training.stopping import StopRequest
from boxcar.training.store import CheckpointStore
from boxcar.training.trainer import SCALARS, Trainer
from boxcar.training.waiting import BACKLOG_LIMIT, wait_for_evaluator

# It warns where a loop ends early, which is how ours stops.
logging.getLogger("absl").setLevel(logging.ERROR)

STEPS_PER_LOOP = 10  # between two looks at losses and the clock; signals are looked at between steps

# What a machine that was lost looks like from the others.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


class _Interrupted(Exception):
    """A signal ended the loop before its last step."""


class TrainingLoop:
    """One start of a training.

    Args:
        plan: what to train.
        strategy: of `devices.make_strategy`.
        stop: what signals ask for.
        alone: whether no other machine takes part.
        evaluator: whether to wait for one.
        heart: which is told of each step; None on a machine that writes nothing.
        progress: what a person sees.
    """

    def __init__(
        self,
        plan: Plan,
        strategy: Any,
        stop: StopRequest,
        *,
        alone: bool,
        evaluator: bool,
        heart: Heart | None,
        progress: Progress,
    ) -> None:
        self._plan, self._settings, self._strategy, self._stop = plan, plan.settings, strategy, stop
        self._evaluator, self._heart, self._progress = evaluator, heart, progress
        self._is_chief = heart is not None
        self._split = Split(sorted(plan.records.folder.glob("train-*.tfrecord")))
        self._step = 0
        self._history: History | None = None
        self._clock = time.monotonic()
        self._measured = False  # whether a loop was timed that did not build the graph
        self._alone = alone
        self._trainer, self._store = self._build()

    def run(self, initial: InitialWeights | None) -> tuple[CheckpointStore, int]:
        """Trains to the last step, or until the scores have stalled.

        Args:
            initial: what to start from, where there is no checkpoint yet; None for random weights.

        Returns:
            The checkpoints, and the step of the last one.

        Raises:
            BoxcarError: as `train`.
        """
        settings = self._settings
        self._step = self._store.restore_latest()
        if not self._alone and self._trainer.mean(float(self._step)) != self._step:
            # A machine that was started while the others were saving has an older checkpoint than they.
            raise BoxcarError(
                ExitCode.AGAIN,
                f"This machine would go on from step {self._step}, and others from another one.",
                "Start all of them again, when each can read the newest checkpoint.",
            )
        if self._step:
            self._progress.say(f"Going on from the checkpoint of step {self._step}.")
        elif initial is not None:
            self._load(self._trainer.network, initial)
        for rollback in read_rollbacks(self._plan.step.folder)[-1:]:
            self._trainer.schedule.scale.assign(rollback.learning_rate_scale)
        beginning = self._remember() if self._plan.configuration.on_divergence == "rollback" else None
        self._progress.say(settings.sentence(self._plan.pictures))
        self._progress.resume_from(self._step)
        self._progress.note("the first steps take longer")
        if self._is_chief:
            self._history = History(self._plan.step.folder, self._step)
            if self._step == 0:
                self._history.pictures(make_panel(self._batches(0), self._plan.specification))
        try:
            while self._step < settings.steps:
                self._read()
                try:
                    if self._train_on():
                        break
                except Diverged as error:
                    if beginning is None:
                        raise
                    self._roll_back(error, beginning)
        except _LOST as error:
            if self._alone:
                raise
            raise BoxcarError(
                ExitCode.AGAIN,
                f"Another machine of this training was lost after step {self._step}.",
                "Start all of them again; they go on from the last checkpoint.",
            ) from error
        except tf.errors.ResourceExhaustedError as error:
            raise BoxcarError(
                ExitCode.ENVIRONMENT,
                f"Memory ran out after step {self._step}: {error.message.splitlines()[0]}.",
                "Start another run with a smaller --batch-size or --image-size.",
            ) from error
        finally:
            if self._history is not None:
                self._history.close()
        return self._store, self._step

    def _build(self) -> tuple[Trainer, CheckpointStore]:
        settings, specification = self._settings, self._plan.specification
        tf_keras.utils.set_random_seed(settings.seed)
        with self._strategy.scope():
            tf_keras.mixed_precision.set_global_policy(settings.precision)
            try:
                network = build_network(
                    specification, settings.batch_norm_momentum, synchronized=self._strategy.num_replicas_in_sync > 1
                )
            finally:
                tf_keras.mixed_precision.set_global_policy(None)  # as it is where nobody sets one
            trainer = Trainer(network, settings, self._strategy, self._stop.asked if self._alone else lambda: False)
            store = CheckpointStore(
                self._plan.step.folder,
                network,
                trainer.optimizer,
                averaged_variables(trainer.optimizer, trainer.trained),
                specification.dataset_version or "",
                is_chief=self._is_chief,
            )
        return trainer, store

    def _load(self, network: Network, initial: InitialWeights) -> None:
        kept = load_weights(network, initial.prefix, class_predictor=False)
        every = len(network.variables_by_name())
        self._progress.say(
            f"Loaded {every - len(kept)} of {every} variables of {initial.source}; the class predictor starts anew."
        )

    def _read(self) -> None:
        """Lays out the batches from the next step on."""
        size = self._settings.batch_size

        def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return self._batches(
                self._step,
                pipeline=(context.input_pipeline_id, context.num_input_pipelines),
                replica_batch_size=context.get_per_replica_batch_size(size),
            )

        self._trainer.read(self._strategy.distribute_datasets_from_function(batches))

    def _batches(self, first_step: int, **share: Any) -> tf.data.Dataset:
        settings = self._settings
        return training_batches(
            self._split,
            self._plan.specification,
            settings.batch_size,
            settings.augmentations,
            settings.seed,
            first_step=first_step,
            **share,
        )

    def _train_on(self) -> bool:
        """Trains to the last step, saving at every interval; True where training ends before it."""
        settings, keep = self._settings, self._plan.configuration
        controller = orbit.Controller(
            trainer=self._trainer,
            global_step=self._trainer.step,
            steps_per_loop=STEPS_PER_LOOP,
            train_actions=[lambda _: self._after_loop()],
        )
        saved = self._step
        interval = settings.checkpoint_interval_steps
        self._clock = time.monotonic()
        while self._step < settings.steps:
            goal = min((self._step // interval + 1) * interval, settings.steps)
            stopped = False
            while self._step < goal and not stopped:
                # Loops end at the same steps whenever training was begun.
                end = min((self._step // STEPS_PER_LOOP + 1) * STEPS_PER_LOOP, goal)
                # orbit prints; our progress says the same in a line.
                with contextlib.redirect_stdout(None), contextlib.suppress(_Interrupted):
                    controller.train(end, checkpoint_at_completion=False)
                stopped = self._agree(self._stop.asked())
            if self._step > saved:
                self._store.save(self._step)
                saved = self._step
            if stopped and self._step < settings.steps:
                raise self._stop.error(self._step, settings.steps)
            if self._evaluator and self._is_chief:
                wait_for_evaluator(self._store, self._plan.evaluation, BACKLOG_LIMIT, self._progress, self._check_stop)
                self._store.clear_away(self._plan.evaluation, keep_best=keep.keep_best, keep_last=keep.keep_last)
            if self._agree_on_stalling():
                self._progress.say(
                    f"Stopped early: {keep.early_stopping_checkpoints} checkpoints in a row have not raised the highest AP."
                )
                return True
            self._clock = time.monotonic()
        return False

    def _after_loop(self) -> None:
        loop = self._trainer.last
        assert loop is not None, "the trainer has trained"
        first, self._step = self._step, self._step + loop.steps
        if loop.first_unhealthy is not None:
            raise self._diverged(first, loop.first_unhealthy)
        now = time.monotonic()
        if self._history is not None:
            self._history.append(self._step, loop, now - self._clock, loop.steps * self._settings.batch_size)
        self._clock = now
        if self._heart is not None:
            self._heart.step = self._step
            self._heart.check()
        note = f"loss {loop.scalars[:, SCALARS.index('loss')].mean():.3f}"
        best = best_score(read_scores(self._plan.evaluation))
        if best is not None and best["AP50"] is not None:
            note += f", best AP50 {best['AP50']:.3f} at step {best['step']}"
        if self._measured:
            self._progress.advance(loop.steps, note)
        else:
            self._progress.resume_from(self._step)  # building the graph took long, which says nothing of the steps to come
            self._progress.advance(0, note)
            self._measured = True
        if self._alone and self._stop.asked():
            raise _Interrupted  # or orbit would go on to the loop's end

    def _diverged(self, first: int, row: int) -> Diverged:
        """The error that names the pictures of the step at a row of the last loop."""
        assert self._trainer.last is not None, "the trainer has trained"
        settings, finite = self._settings, self._trainer.last.finite[row]
        size, step = settings.batch_size, first + row
        members = batch_members(len(self._split), size, settings.augmentations, settings.seed, step)
        each = len(members) // size  # four where they are mosaics
        where = f"the loss is not finite at step {step + 1}"
        # On several machines each knows its own pictures only, which are not all of the step's.
        if len(finite) == size and not finite.all() and finite.any():
            where += f", for {size - finite.sum()} of its {size} pictures"
            members = [members[each * row + k] for row in np.flatnonzero(~finite) for k in range(each)]
        pictures = tuple(dict.fromkeys(self._split.example(member).filename for member in members))
        return Diverged(step + 1, where, pictures)

    def _remember(self) -> list[Any]:
        """The state before the first step, to which a divergence before the first checkpoint leads back."""
        return [variable.numpy() for variable in self._state()] if self._step == 0 else []

    def _state(self) -> list[tf.Variable]:
        return [*self._trainer.network.variables_by_name().values(), *self._trainer.optimizer.variables]

    def _roll_back(self, error: Diverged, beginning: list[Any]) -> None:
        back_to = self._store.restore_latest()
        if back_to == 0:
            for variable, value in zip(self._state(), beginning, strict=True):
                variable.assign(value)
        if self._is_chief:
            rollback = note_rollback(self._plan.step.folder, error, back_to)
            scale = rollback.learning_rate_scale
        else:
            scale = float(self._trainer.schedule.scale.numpy()) / 2
        self._trainer.schedule.scale.assign(scale)
        self._step = back_to
        self._progress.resume_from(back_to)
        for line in error.details:
            self._progress.say(line)
        self._progress.say(f"{error.what} Going back to step {back_to}, with {scale:g} times the learning rate.")
        if self._history is not None:
            self._history.cut(back_to)

    def _agree_on_stalling(self) -> bool:
        patience = self._plan.configuration.early_stopping_checkpoints
        if patience is None:
            return False
        stalled = self._is_chief and has_stalled(read_scores(self._plan.evaluation), patience)
        return self._agree(stalled)

    def _agree(self, flag: bool) -> bool:
        return flag if self._alone else self._trainer.agree(flag)

    def _check_stop(self) -> None:
        self._stop.check(self._step, self._settings.steps)
