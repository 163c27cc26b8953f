"""The train step: from records to checkpoints, resumable at every moment."""

from typing import TYPE_CHECKING

from boxcar.config.run import Configuration
from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.specification import SPECIFICATION, specification_json
from boxcar.run.checkpoints import has_stalled, list_checkpoints, read_scores, write_status
from boxcar.run.progress import Progress
from boxcar.run.step import Committed, require_commit
from boxcar.storage import replace_text
from boxcar.training.devices import Machines, make_strategy, read_machines
from boxcar.training.heartbeat import Heart
from boxcar.training.initial import find_initial
from boxcar.training.plan import Plan, make_plan, with_initial
from boxcar.training.stopping import StopRequest
from boxcar.training.waiting import wait_for_evaluator

if TYPE_CHECKING:
    from boxcar.training.store import CheckpointStore


def train(run: str, configuration: Configuration, *, evaluator: bool = True) -> Committed | None:
    """Trains a detector on `<run>/records` into `<run>/train`, going on from the last checkpoint where there is one.

    On several machines (TF_CONFIG) each calls this; the first one writes, the others need to read `<run>`.

    Args:
        run: URI of the run's folder.
        configuration: architecture, image size, initial weights and whatever else is not to be derived.
        evaluator: whether an evaluator scores the checkpoints meanwhile. The trainer then waits for it where it falls behind,
            and at the end, and clears scored checkpoints away.

    Returns:
        The finished step; None on the machines that do not write.

    Raises:
        BoxcarError: 64 without records or for another configuration than the one that was begun; 65 where training diverges;
            69 where nothing can be written, a GPU that was asked for is not seen or the evaluator does not keep up; 75 after
            SIGTERM, 130 after SIGINT, both with a checkpoint, and 75 where another machine was lost.
    """
    machines = read_machines()
    plan = make_plan(run, configuration)
    finished = plan.step.done()
    if finished is not None:
        return finished
    stop = StopRequest(plan.step.folder.parent)
    if not machines.is_chief:
        with Progress("Training", plan.settings.steps, "steps") as progress:
            _loop(plan, stop, evaluator, None, progress)
        return None
    with plan.step.writing():
        write_status(plan.step.folder, "RUNNING", 0)
        heart = Heart(plan.step.folder)
        failed = True
        try:
            _train(plan, stop, evaluator, heart)
            failed = False
        finally:
            heart.stop(failed=failed)
    return require_commit(plan.step.folder, "train")


def check_training(run: str, configuration: Configuration) -> None:
    """Raises BoxcarError as `train` would before it starts: 64 without records, or where other settings were begun with."""
    read_machines()
    make_plan(run, configuration).step.check()


def _train(plan: Plan, stop: StopRequest, evaluator: bool, heart: Heart) -> None:
    with Progress("Training", plan.settings.steps, "steps") as progress:
        store, last = _loop(plan, stop, evaluator, heart, progress)
    heart.done(last)
    if evaluator:
        waiting = len(store.unscored(plan.evaluation))
        with Progress("Scoring the last checkpoints", waiting, "checkpoints") as progress:
            wait_for_evaluator(store, plan.evaluation, 0, progress, lambda: stop.check(last, plan.settings.steps))
        keep = plan.configuration
        store.clear_away(plan.evaluation, keep_best=keep.keep_best, keep_last=keep.keep_last)


def _loop(
    plan: Plan, stop: StopRequest, evaluator: bool, heart: Heart | None, progress: Progress
) -> "tuple[CheckpointStore, int]":
    """Loads TensorFlow, and trains."""
    progress.note("starting TensorFlow")
    # Where the last step is saved the other machines may have ended, and would be waited for in vain.
    machines = Machines() if _has_trained(plan) else read_machines()
    strategy = make_strategy(plan.configuration.gpus, machines)
    stop.listen()
    replicas = strategy.num_replicas_in_sync
    if plan.settings.batch_size % replicas:
        raise BoxcarError(
            ExitCode.USAGE,
            f"A batch of {plan.settings.batch_size} pictures cannot be shared equally by {replicas} replicas.",
            f"Give --batch-size a multiple of {replicas}.",
        )
    if plan.settings.xla and replicas > 1:
        raise BoxcarError(
            ExitCode.USAGE, f"XLA is for one replica, and there are {replicas}.", "Leave out xla, or train on one GPU."
        )
    initial = None
    if not list_checkpoints(plan.step.folder):
        initial = find_initial(plan.configuration)
    described = plan.step.folder / SPECIFICATION
    if heart is not None and (initial is not None or not described.exists()):
        replace_text(described, specification_json(with_initial(plan.specification, initial)))

    from boxcar.training.loop import TrainingLoop

    alone = machines.count == 1
    loop = TrainingLoop(plan, strategy, stop, alone=alone, evaluator=evaluator, heart=heart, progress=progress)
    return loop.run(initial)


def _has_trained(plan: Plan) -> bool:
    """Whether the checkpoint of the last step that there will be is saved."""
    last = max((checkpoint.step for checkpoint in list_checkpoints(plan.step.folder)), default=0)
    patience = plan.configuration.early_stopping_checkpoints
    stalled = patience is not None and has_stalled(read_scores(plan.evaluation), patience)
    return last >= plan.settings.steps or (last > 0 and stalled)
