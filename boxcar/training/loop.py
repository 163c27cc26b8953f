"""The training loop from top to bottom: devices, network, optimizer, data, steps, log, checkpoint, the evaluator's scores."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import tensorflow as tf
import tf_keras

from boxcar.data.input_pipeline import IndexedSplit, training_batches
from boxcar.detectors.catalog import build_network
from boxcar.detectors.weights.initial_weights import load_initial
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.specification import SPECIFICATION, read_specification, specification_json
from boxcar.run.checkpoints import best_score, has_stalled, list_checkpoints, read_scores
from boxcar.run.progress import Progress
from boxcar.storage import replace_text
from boxcar.training.backlog import BACKLOG_LIMIT, wait_for_evaluator
from boxcar.training.checkpoint_store import CheckpointStore
from boxcar.training.devices import Workers, check_replicas, make_strategy, read_workers
from boxcar.training.divergence import Diverged, LossWatch, diverged, note_rollback, read_rollbacks
from boxcar.training.heartbeat import Heartbeat
from boxcar.training.history import History, step_losses
from boxcar.training.initial import find_initial
from boxcar.training.optimizers import averaged_variables, continue_average
from boxcar.training.panel import make_panel
from boxcar.training.plan import TrainingPlan, box_sentences, with_initial
from boxcar.training.settings import derive_patience, derive_settings
from boxcar.training.stopping import StopRequest
from boxcar.training.trainer import LogWindow, Trainer

LOG_STEPS = 10  # between two lines of the log; signals are looked at between steps

# What the loss of one worker looks like from the others.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


def run_training(
    plan: TrainingPlan, stop: StopRequest, progress: Progress, *, heartbeat: Heartbeat | None, evaluator: bool
) -> tuple[CheckpointStore, int]:
    """Trains to the last step, or until the scores stop improving.

    Args:
        plan: what to train.
        stop: the request of a signal to stop.
        progress: the progress that is displayed.
        heartbeat: takes the number of each step; None on a worker that writes nothing.
        evaluator: whether to wait for one that falls behind.

    Returns:
        The checkpoints, and the step of the last one.

    Raises:
        BoxcarError: as `boxcar.training.train`.
    """
    settings, configuration, folder = plan.settings, plan.configuration, plan.step.folder
    patience = derive_patience(configuration)
    is_chief = heartbeat is not None

    # Devices. Once the last step is saved the other workers may have ended: this one no longer waits for them.
    workers = Workers() if plan.is_trained() else read_workers()
    alone = workers.count == 1
    strategy = make_strategy(configuration.gpus, workers)
    stop.listen()
    check_replicas(settings, strategy.num_replicas_in_sync)

    # Data, network, optimizer and checkpoints.
    resumes = bool(list_checkpoints(folder))
    initial = None if resumes else find_initial(configuration)
    # A resumed training keeps the anchors that it was started with.
    specification = read_specification(folder) if resumes else with_initial(plan.specification, initial)
    plan = replace(plan, specification=specification)
    if is_chief and not resumes:
        replace_text(folder / SPECIFICATION, specification_json(specification))
    split = IndexedSplit(sorted(plan.records.folder.glob("train-*.tfrecord")))
    trainer, store = _build(plan, strategy, is_chief)
    step = store.restore_latest()
    if not alone and trainer.mean(float(step)) != step:
        # A worker that was started while the others were saving has an older checkpoint than they.
        raise BoxcarError(
            ExitCode.AGAIN,
            f"This worker would resume from step {step}, but other workers would resume from another step.",
            "Start all workers again when each of them can read the newest checkpoint.",
        )
    agree: Callable[[bool], bool] = bool if alone else trainer.agree
    if resumes:
        progress.say(f"Resuming from the checkpoint of step {step}.")
    elif initial is not None:
        progress.note("loading initial weights")
        averages = averaged_variables(trainer.optimizer, trainer.trained)
        loaded = load_initial(trainer.network, initial, _few_images(plan, split), averages)
        progress.say(loaded.sentence)
        if loaded.complete:
            # Scored like the others, so that the chosen checkpoint is never worse than what training started from.
            store.save(0)
    if settings.ema_decay is not None and agree(is_chief and _has_start(plan)):
        continue_average(trainer.optimizer)
    for rollback in read_rollbacks(folder)[-1:]:
        trainer.schedule.scale.assign(rollback.learning_rate_scale)
    if step == 0 and configuration.on_divergence == "rollback":
        store.keep_start()

    # Log.
    progress.say(settings.sentence(plan.images))
    for sentence in box_sentences(plan.shapes, plan.specification):
        progress.say(sentence)
    progress.resume_from(step)
    progress.note("the first steps take longer")
    history = History(folder, step) if is_chief else None
    if history is not None and step == 0:
        first_batches = training_batches(
            split, plan.specification, settings.batch_size, settings.augmentations, settings.seed, first_step=0
        )
        history.images(make_panel(first_batches, plan.specification))

    watch = LossWatch(step_losses(folder, step), settings.steps)
    # Several workers stop together, between two lines of the log; a single one after any step.
    stopping = stop.asked if alone else lambda: False
    timed = False  # the first steps build the graph, which says nothing of how long the others take
    try:
        batches = _read(plan, split, strategy, step)
        clock = time.monotonic()
        while step < settings.steps:
            try:
                # Logs and checkpoints come after the same steps, wherever training was resumed.
                checkpoint = min(_next_multiple(step, settings.checkpoint_interval_steps), settings.steps)
                end = min(_next_multiple(step, LOG_STEPS), checkpoint)
                window = trainer.train(batches, end - step, stopping)
                first, step = step, step + window.steps
                if window.first_unhealthy is not None:
                    raise diverged(window, first, split, settings)
                watch.add(window.scalars[:, 0].tolist())
                watch.check(step, at_end=step == settings.steps)

                now = time.monotonic()
                if history is not None:
                    history.append(step, window, now - clock, window.steps * settings.batch_size)
                clock = now
                if heartbeat is not None:
                    heartbeat.step = step
                    heartbeat.check()
                if not timed:
                    progress.resume_from(step)
                progress.advance(window.steps if timed else 0, _note(plan, window))
                timed = True

                stopped = agree(stop.asked())
                if step < checkpoint and not stopped:
                    continue
                store.save(step)
                if stopped and step < settings.steps:
                    raise stop.error(step, settings.steps)
                if evaluator and is_chief:
                    check_stop = partial(stop.check, step, settings.steps)
                    wait_for_evaluator(store, plan.evaluation, BACKLOG_LIMIT, progress, check_stop)
                    store.clear_away(plan.evaluation, keep_best=configuration.keep_best, keep_last=configuration.keep_last)
                if patience and agree(is_chief and has_stalled(read_scores(plan.evaluation), patience)):
                    watch.check(step, at_end=True)
                    progress.say(f"Stopped early: the last {patience} checkpoints have not raised the highest AP.")
                    break
                clock = time.monotonic()
            except Diverged as error:
                error.do = _lower_rate(plan)
                if configuration.on_divergence != "rollback":
                    raise
                step = _roll_back(plan, trainer, store, error, is_chief, progress)
                watch.forget()
                if history is not None:
                    history.cut(step)
                batches = _read(plan, split, strategy, step)
                clock = time.monotonic()
    except _LOST as error:
        if alone:
            raise
        raise BoxcarError(
            ExitCode.AGAIN,
            f"Another worker of this training was lost after step {step}.",
            "Start all workers again; they resume from the last checkpoint.",
        ) from error
    finally:
        if history is not None:
            history.close()
    return store, step


def _build(plan: TrainingPlan, strategy: Any, is_chief: bool) -> tuple[Trainer, CheckpointStore]:
    settings, specification = plan.settings, plan.specification
    tf_keras.utils.set_random_seed(settings.seed)
    with strategy.scope():
        tf_keras.mixed_precision.set_global_policy(settings.precision)
        try:
            network = build_network(specification, settings.batch_norm_momentum, synchronized=strategy.num_replicas_in_sync > 1)
        finally:
            tf_keras.mixed_precision.set_global_policy(None)  # as it is before anybody sets one
        trainer = Trainer(network, settings, strategy)
        averages = averaged_variables(trainer.optimizer, trainer.trained)
        version = specification.dataset_version or ""
        store = CheckpointStore(plan.step.folder, network, trainer.optimizer, averages, version, is_chief=is_chief)
    return trainer, store


def _has_start(plan: TrainingPlan) -> bool:
    """Whether training started from a whole detector, so that it has, or had, a checkpoint of step 0."""
    steps = {checkpoint.step for checkpoint in list_checkpoints(plan.step.folder)}
    return 0 in steps | {score["step"] for score in read_scores(plan.evaluation)}


def _few_images(plan: TrainingPlan, split: IndexedSplit) -> Iterator[tf.Tensor]:
    """64 training images in batches of 8, without augmentation; the same in every worker."""
    for batch in training_batches(split, plan.specification, 8, (), plan.settings.seed, first_step=0).take(8):
        yield batch["image"]


def _read(plan: TrainingPlan, split: IndexedSplit, strategy: Any, first_step: int) -> Iterator[Any]:
    """The batches from a step on, counted from 0, distributed to the replicas by the strategy."""
    settings = plan.settings

    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return training_batches(
            split,
            plan.specification,
            settings.batch_size,
            settings.augmentations,
            settings.seed,
            first_step=first_step,
            pipeline=(context.input_pipeline_id, context.num_input_pipelines),
            replica_batch_size=context.get_per_replica_batch_size(settings.batch_size),
        )

    return iter(strategy.distribute_datasets_from_function(batches))


def _roll_back(
    plan: TrainingPlan, trainer: Trainer, store: CheckpointStore, error: Diverged, is_chief: bool, progress: Progress
) -> int:
    """Returns to the last checkpoint, or to the start, with half the learning rate; the step there."""
    step = store.restore_latest()
    if is_chief:
        scale = note_rollback(plan.step.folder, error, step).learning_rate_scale
    else:
        scale = float(trainer.schedule.scale.numpy()) / 2
    trainer.schedule.scale.assign(scale)
    progress.resume_from(step)
    for line in error.details:
        progress.say(line)
    progress.say(f"{error.what} Rolling back to step {step}, with {scale:g} times the learning rate.")
    return step


def _lower_rate(plan: TrainingPlan) -> str:
    """What to do after divergence. Not --resume: a training resumes with its own settings only."""
    rate = plan.settings.learning_rate
    usual = derive_settings(plan.configuration.model_copy(update={"learning_rate": None}), plan.images).learning_rate
    lower = usual if usual < rate else rate / 10
    return f"Start another run with a lower --learning-rate than {rate:g}, such as {lower:g}."


def _note(plan: TrainingPlan, window: LogWindow) -> str:
    """What the progress shows of the steps since the last line of the log."""
    note = f"loss {window.scalars[:, 0].mean():.3f}"
    best = best_score(read_scores(plan.evaluation))
    if best is not None and best["AP50"] is not None:
        note += f", best validation AP50 {best['AP50']:.3f} at step {best['step']}"
    return note


def _next_multiple(step: int, interval: int) -> int:
    return (step // interval + 1) * interval
