"""The train step: from records to checkpoints, resumable at every moment."""

import contextlib
import json
import math
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxcar.detectors.checkpoint_sources import InitialWeights
from boxcar.detectors.label_map import read_label_map
from boxcar.detectors.registry import find_architecture
from boxcar.detectors.specification import SPECIFICATION, InitialCheckpoint, Specification, specification_json
from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.checkpoints import best_score, list_checkpoints, read_scores, write_status
from boxcar.run.configuration import Configuration
from boxcar.run.progress import Progress
from boxcar.run.step import Committed, Step, require_commit
from boxcar.storage import local_path, replace_text
from boxcar.training.initial import find_initial
from boxcar.training.settings import DIVERGED, Settings, derive_settings
from boxcar.training.stopping import StopRequest

if TYPE_CHECKING:
    from boxcar.training.store import CheckpointStore

STEPS_PER_LOOP = 10  # between two looks at signals, losses and the clock
BACKLOG_LIMIT = 5  # checkpoints that may wait for the evaluator before the trainer does
PATIENCE_SECONDS = 1800.0  # for which the evaluator may score nothing while the trainer waits for it
HEARTBEAT_SECONDS = 10.0


def train(run: str, configuration: Configuration, *, evaluator: bool = True) -> Committed:
    """Trains a detector on `<run>/records` into `<run>/train`, going on from the last checkpoint where there is one.

    Args:
        run: URI of the run's folder.
        configuration: architecture, image size, initial weights and whatever else is not to be derived.
        evaluator: whether an evaluator scores the checkpoints meanwhile. The trainer then waits for it where it falls behind,
            and at the end, and clears scored checkpoints away.

    Raises:
        BoxcarError: 64 without records or for another configuration than the one that was begun; 65 where training diverges;
            69 where nothing can be written or the evaluator does not keep up; 75 after SIGTERM, 130 after SIGINT, both with a
            checkpoint.
    """
    plan = _plan(run, configuration)
    step = plan.step
    finished = step.done()
    if finished is not None:
        return finished
    stop = StopRequest()
    with step.writing():
        write_status(step.folder, "RUNNING", 0)
        initial = find_initial(configuration) if not list_checkpoints(step.folder) else None
        if initial is not None or not (step.folder / SPECIFICATION).exists():
            replace_text(step.folder / SPECIFICATION, specification_json(_with_initial(plan.specification, initial)))
        heart = _Heart(step.folder)
        try:
            _train(plan, initial, local_path(run) / "eval", stop, evaluator, heart)
        except BaseException:
            heart.stop("FAILED")
            raise
        heart.stop("DONE")
    return require_commit(step.folder, "train")


def check_training(run: str, configuration: Configuration) -> None:
    """Raises BoxcarError as `train` would before it starts: 64 without records, or where other settings were begun with."""
    _plan(run, configuration).step.check()


@dataclass(frozen=True)
class _Plan:
    """A training with all that is decided before it starts."""

    step: Step
    records: Committed
    specification: Specification
    settings: Settings


def _plan(run: str, configuration: Configuration) -> _Plan:
    folder = local_path(run)
    records = require_commit(folder / "records", "records")
    dataset = json.loads((records.folder / "dataset.json").read_text(encoding="utf-8"))
    settings = derive_settings(configuration, dataset["splits"]["train"]["pictures"])
    specification = find_architecture(configuration.architecture).specify(
        configuration.size, read_label_map(records.folder / "label_map.pbtxt"), dataset["version"]
    )
    step = Step(
        "train",
        folder / "train",
        inputs={"records": records.digest},
        parameters={
            "architecture": specification.architecture,
            "image_size": specification.image_size,
            "init": configuration.init or "none",
            **settings.parameters(),
        },
        resumable=True,
    )
    return _Plan(step, records, specification, settings)


def _with_initial(specification: Specification, initial: InitialWeights | None) -> Specification:
    if initial is None:
        return specification
    checkpoint = InitialCheckpoint(source=initial.source, sha256=initial.sha256)
    return specification.model_copy(update={"initial_checkpoint": checkpoint})


def _train(
    plan: _Plan, initial: InitialWeights | None, eval_folder: Path, stop: StopRequest, evaluator: bool, heart: "_Heart"
) -> None:
    with Progress("Training", plan.settings.steps, "steps") as progress:
        progress.note("starting TensorFlow")
        store = _train_to_the_end(plan, initial, eval_folder, stop, evaluator, heart, progress)
    heart.done(plan.settings.steps)
    if evaluator:
        with Progress("Scoring the last checkpoints", len(store.unscored(eval_folder)), "checkpoints") as progress:
            _wait_for_evaluator(store, eval_folder, 0, stop, progress, plan.settings.steps, plan.settings.steps)
        store.clear_away(eval_folder)


def _train_to_the_end(
    plan: _Plan,
    initial: InitialWeights | None,
    eval_folder: Path,
    stop: StopRequest,
    evaluator: bool,
    heart: "_Heart",
    progress: Progress,
) -> "CheckpointStore":
    import orbit
    import tensorflow as tf
    import tf_keras

    from boxcar.detectors.input_pipeline import Split, training_batches
    from boxcar.detectors.network import load_weights
    from boxcar.detectors.registry import build_network
    from boxcar.training.history import History
    from boxcar.training.store import CheckpointStore
    from boxcar.training.trainer import Trainer

    settings = plan.settings
    tf_keras.utils.set_random_seed(settings.seed)
    network = build_network(plan.specification, settings.batch_norm_momentum)
    split = Split(sorted(plan.records.folder.glob("train-*.tfrecord")))
    # The trainer's variables must exist before a checkpoint is restored, and the step before the data is laid out.
    trainer = Trainer(network, settings)
    store = CheckpointStore(plan.step.folder, network, trainer.optimizer, plan.specification.dataset_version or "")
    heart.step = store.restore_latest()
    if heart.step:
        progress.say(f"Going on from the checkpoint of step {heart.step}.")
        progress.go_on_from(heart.step)
    elif initial is not None:
        kept = load_weights(network, initial.prefix, class_predictor=False)
        every = len(network.variables_by_name())
        progress.say(f"Loaded {every - len(kept)} of {every} variables of {initial.source}; the class predictor starts anew.")
    trainer.read(
        training_batches(
            split, plan.specification, settings.batch_size, settings.augmentations, settings.seed, first_step=heart.step
        )
    )
    saved = heart.step
    history = History(plan.step.folder, heart.step)
    progress.note("the first steps take longer")
    clock, first_loop = time.monotonic(), True

    def after_loop(output: Any) -> None:
        nonlocal clock, first_loop
        now = time.monotonic()
        reached = int(trainer.step.numpy())
        steps = reached - heart.step
        losses = {name: float(value) for name, value in output.items()}
        history.append(reached, losses, now - clock, steps * settings.batch_size, steps)
        clock = now
        heart.step = reached
        heart.check()
        if not math.isfinite(losses["loss"]):
            raise BoxcarError(
                ExitCode.DATA,
                f"Training diverged: the loss is not finite between steps {reached - steps + 1} and {reached}.",
                DIVERGED,
            )
        best = best_score(read_scores(eval_folder))
        note = f"loss {losses['loss']:.3f}"
        if best is not None and best["AP50"] is not None:
            note += f", best AP50 {best['AP50']:.3f} at step {best['step']}"
        if first_loop:
            progress.go_on_from(reached)  # it took long to build the graph, which says nothing of the steps to come
            first_loop = False
            steps = 0
        progress.advance(steps, note)

    controller = orbit.Controller(
        trainer=trainer, global_step=trainer.step, steps_per_loop=STEPS_PER_LOOP, train_actions=[after_loop]
    )
    try:
        while heart.step < settings.steps:
            interval = settings.checkpoint_interval_steps
            goal = min((heart.step // interval + 1) * interval, settings.steps)
            while heart.step < goal and stop.signal is None:
                with contextlib.redirect_stdout(None):  # orbit prints; our progress says the same in a line
                    controller.train(min(heart.step + STEPS_PER_LOOP, goal), checkpoint_at_completion=False)
            if heart.step > saved:
                store.save(heart.step)
                saved = heart.step
            if stop.signal is not None and heart.step < settings.steps:
                raise _stopped(stop, heart.step, settings.steps)
            if evaluator:
                _wait_for_evaluator(store, eval_folder, BACKLOG_LIMIT, stop, progress, heart.step, settings.steps)
                store.clear_away(eval_folder)
            clock = time.monotonic()
    except tf.errors.ResourceExhaustedError as error:
        raise BoxcarError(
            ExitCode.SURROUNDINGS,
            f"Memory ran out after step {heart.step}: {error.message.splitlines()[0]}.",
            "Start another run with a smaller --batch-size or --image-size.",
        ) from error
    finally:
        history.close()
    return store


def _wait_for_evaluator(
    store: "CheckpointStore", evaluation: Path, most: int, stop: StopRequest, progress: Progress, step: int, steps: int
) -> None:
    """Waits until at most `most` checkpoints are not scored."""
    waiting = store.unscored(evaluation)
    if len(waiting) > most > 0:
        progress.say(f"{len(waiting)} checkpoints wait for the evaluator; training goes on when {most} or fewer do.")
    patience = time.monotonic() + PATIENCE_SECONDS
    while len(waiting) > most:
        if stop.signal is not None:
            raise _stopped(stop, step, steps)
        if time.monotonic() > patience:
            raise BoxcarError(
                ExitCode.SURROUNDINGS,
                f"The evaluator scored nothing in {PATIENCE_SECONDS / 60:.0f} minutes; {len(waiting)} checkpoints wait.",
                "See why it stopped, then start it again; `boxcar train --evaluator none` does without it.",
            )
        time.sleep(0.2)
        left = store.unscored(evaluation)
        if len(left) < len(waiting):
            patience = time.monotonic() + PATIENCE_SECONDS
            if most == 0:
                progress.advance(len(waiting) - len(left))
        waiting = left


def _stopped(stop: StopRequest, step: int, steps: int) -> BoxcarError:
    code = ExitCode.INTERRUPTED if stop.signal and stop.signal.name == "SIGINT" else ExitCode.AGAIN
    return BoxcarError(
        code,
        f"Stopped at step {step} of {steps}; its checkpoint is saved." if step else "Stopped before the first step.",
        "Start it again to go on from there: `boxcar train`, or `boxcar run` with --resume.",
    )


class _Heart:
    """Says every few seconds that the trainer lives, also while TensorFlow is busy with one long call."""

    def __init__(self, train: Path) -> None:
        self.step = 0
        self._train = train
        self._last: int | None = None
        self._refused: BoxcarError | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def done(self, last_checkpoint: int) -> None:
        """Training is over; the evaluator may finish."""
        with self._lock:
            self._last = last_checkpoint
            self._write()

    def stop(self, state: str) -> None:
        self._stop.set()
        self._thread.join()
        if state == "FAILED" and self._last is None:
            write_status(self._train, "FAILED", self.step)

    def check(self) -> None:
        """Raises what kept a beat from being written: a trainer that nobody hears counts as dead."""
        if self._refused is not None:
            raise self._refused

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                with self._lock:
                    self._write()
            except BoxcarError as error:
                self._refused = error
                return

    def _write(self) -> None:
        write_status(self._train, "RUNNING" if self._last is None else "DONE", self.step, self._last)
