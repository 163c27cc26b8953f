"""The train step around its loop: plan, heartbeat, wait for the scores of the last checkpoints, commit."""

from typing import TYPE_CHECKING

from boxcar.config.run_settings import Configuration
from boxcar.run.memory import memory_errors
from boxcar.run.progress import Progress
from boxcar.run.step import Committed, require_commit
from boxcar.training.backlog import wait_for_evaluator
from boxcar.training.devices import read_workers
from boxcar.training.heartbeat import Heartbeat
from boxcar.training.plan import TrainingPlan, make_plan
from boxcar.training.stopping import StopRequest

if TYPE_CHECKING:
    from boxcar.training.checkpoint_store import CheckpointStore


def train(run: str, configuration: Configuration, *, evaluator: bool = True) -> Committed | None:
    """Trains a detector on `<run>/records`, from the last checkpoint if there is one. Writes `<run>/train`.

    With several workers (TF_CONFIG), each calls this. Only the chief writes; the others must be able to read `<run>`.

    Args:
        run: URI of the run's folder.
        configuration: architecture, image size, initial weights, and all other settings that are not derived.
        evaluator: whether an evaluator scores the checkpoints meanwhile. If so, the trainer waits for it when it falls
            behind and at the end, and removes scored checkpoints that retention does not keep.

    Returns:
        The finished step; None on the workers that do not write.

    Raises:
        BoxcarError: 64 without records or for another configuration than the one the run was started with; 65 if training
            diverges; 69 if nothing can be written, memory runs out, a GPU that was asked for is not seen, or the evaluator does
            not keep up; 75 after SIGTERM, 130 after SIGINT, both with a checkpoint, and 75 if another worker was lost.
    """
    workers = read_workers()
    plan = make_plan(run, configuration)
    finished = plan.step.done()
    if finished is not None:
        return finished
    stop = StopRequest(plan.step.folder.parent)
    if not workers.is_chief:
        _run_loop(plan, stop, None, evaluator)
        return None
    with plan.step.writing(), Heartbeat(plan.step.folder) as heartbeat:
        store, last = _run_loop(plan, stop, heartbeat, evaluator)
        heartbeat.done(last)
        if evaluator:
            waiting = len(store.unscored(plan.evaluation))
            with Progress("Scoring the last checkpoints", waiting, "checkpoints") as progress:
                wait_for_evaluator(store, plan.evaluation, 0, progress, lambda: stop.check(last, plan.settings.steps))
            store.clear_away(plan.evaluation, keep_best=configuration.keep_best, keep_last=configuration.keep_last)
    return require_commit(plan.step.folder, "train")


def check_training(run: str, configuration: Configuration) -> None:
    """Raises the errors of `train` before it starts: 64 without records, or for settings other than the run's own."""
    read_workers()
    make_plan(run, configuration).step.check()


def _run_loop(
    plan: TrainingPlan, stop: StopRequest, heartbeat: Heartbeat | None, evaluator: bool
) -> "tuple[CheckpointStore, int]":
    with memory_errors("Training"), Progress("Training", plan.settings.steps, "steps") as progress:
        progress.note("starting TensorFlow")
        from boxcar.training.loop import run_training

        return run_training(plan, stop, progress, heartbeat=heartbeat, evaluator=evaluator)
