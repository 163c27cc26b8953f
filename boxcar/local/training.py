"""Training on this machine: the trainer and the evaluator as child processes.

They communicate only through the run's folder, as they do on a cluster. Here they are started, watched, and ended.
"""

import os
import signal
import subprocess
import time
from pathlib import Path
from types import FrameType

from boxcar import storage
from boxcar.config.run_settings import Configuration, write_configuration
from boxcar.errors import BoxcarError, ChildEnded, ExitCode
from boxcar.run.checkpoints import read_scores
from boxcar.run.child import start_child
from boxcar.run.end_signals import END_SIGNALS
from boxcar.run.layout import CONFIGURATION, EVAL, EVALUATOR_LOG, LOCK, TRAIN
from boxcar.storage.local_files import os_errors
from boxcar.sync.mirror import Mirror
from boxcar.sync.upload import uploading
from boxcar.training import check_training

EVALUATOR_STARTS = 3
# Memory in pages of 2 MB if Linux gives them on request (`madvise`): a training step at 320 pixels uses 2 GB, and takes 6 %
# less time with them. glibc reads this when a process starts; other systems ignore it.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def train_and_evaluate(run: str) -> None:
    """Trains the run as its `config.yaml` says, together with the evaluator, until both steps are committed.

    Args:
        run: URI of the run's folder. For one in a bucket, `upload.fetch_run` must have made the copy here. The results are
            uploaded while they are written.

    Raises:
        ChildEnded: the trainer failed, and has printed the reason.
        BoxcarError: 69 if the trainer was killed, the evaluator fails repeatedly, or the bucket does not answer.
    """
    with uploading(run):
        _train_and_evaluate(Mirror(run).folder)


def train_here(run: str, configuration: Configuration | None = None) -> None:
    """Locks the run's folder for this process, and trains as `train_and_evaluate` does.

    Args:
        run: as for `train_and_evaluate`.
        configuration: to write into the run first; by default it has one.

    Raises:
        BoxcarError: 64 or 65 if the run cannot be trained with it, 69 if another process works on the run.
    """
    place = Mirror(run)
    if configuration is not None:
        # Before it is written: one that is refused must not replace the run's own.
        check_training(str(place.folder), configuration)
    descriptor = lock(place.folder)
    try:
        if configuration is not None:
            write_configuration(place.folder, configuration)
            place.send_file(CONFIGURATION)
        train_and_evaluate(run)
    finally:
        os.close(descriptor)


def _train_and_evaluate(run: Path) -> None:
    stops: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        stops.append(number)
        # The children have their own process group, so a terminal's Ctrl-C reaches them only from here. After a second one,
        # the checkpoint is not waited for.
        if number == signal.SIGINT and len(stops) > 1:
            trainer.kill()
        else:
            trainer.send_signal(number)

    storage.make_folder(run / TRAIN)  # else an evaluator that starts faster than the trainer finds no training
    with os_errors(run):
        log = (run / EVALUATOR_LOG).open("ab")
    with log:
        trainer = _start(run, "train", "--evaluator", "elsewhere")
        evaluator = _start(run, "evaluate", log=log.fileno(), gpu=False)
        starts, scored = 1, 0
        # Signals that are ignored stay so, as nohup and a shell's background jobs want it.
        numbers = [n for n in (signal.SIGINT, *END_SIGNALS) if signal.getsignal(n) is not signal.SIG_IGN]
        before = {number: signal.signal(number, forward) for number in numbers}
        try:
            while True:
                code = trainer.poll()
                if code is not None and (code != 0 or stops or evaluator.poll() == 0):
                    break
                if evaluator.poll() not in (None, 0) and not stops:
                    lines = len(read_scores(run / EVAL))
                    if lines > scored:  # an evaluator that makes progress is restarted without limit
                        starts, scored = 0, lines
                    if starts == EVALUATOR_STARTS:
                        raise _evaluator_failed(run)
                    evaluator = _start(run, "evaluate", log=log.fileno(), gpu=False)
                    starts += 1
                time.sleep(0.1)
        finally:
            for child in (trainer, evaluator):
                _end(child)
            for number, handler in before.items():
                signal.signal(number, handler)
    if stops and code <= 0:
        code, how = ExitCode.AGAIN, signal.Signals(stops[0]).name
        if stops[0] == signal.SIGINT:
            code, how = ExitCode.INTERRUPTED, "Ctrl-C"
        what = f"Stopped by {how}; checkpoints and scores so far are kept."
        raise BoxcarError(code, what, "", again=True)
    if code < 0:
        name = signal.Signals(-code).name
        what = f"The trainer was ended by {name}" + (", probably because memory ran out." if code == -9 else ".")
        do = "If memory ran out, give the machine more, or start another run with a smaller --batch-size."
        raise BoxcarError(ExitCode.ENVIRONMENT, what, do, again=True)
    if code != 0:
        raise ChildEnded(code)


def _start(run: Path, *arguments: str, log: int | None = None, gpu: bool = True) -> subprocess.Popen[bytes]:
    # A trainer that survived its parent would write into a run that was started again.
    return start_child(
        "boxcar",
        [*arguments, "--run", str(run)],
        stdout=log,
        stderr=log,
        # The trainer takes all of a GPU's memory; the evaluator runs on the CPU.
        env=(HUGE_PAGES | dict(os.environ)) if gpu else {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        process_group=0,
        # The run's lock is inherited: as long as a child lives, no other process works in the run.
        close_fds=False,
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends a child that still runs: first by SIGTERM, then by SIGKILL."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _evaluator_failed(run: Path) -> BoxcarError:
    lines = (run / EVALUATOR_LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    what = f"The evaluator failed {EVALUATOR_STARTS} times, the last time with: {lines[-1] if lines else 'no message'}"
    return BoxcarError(ExitCode.ENVIRONMENT, what, f"See {run / EVALUATOR_LOG} for the reason.", again=True)


def lock(run: Path) -> int:
    """Locks the run for this process and its children until they have all ended.

    Raises:
        BoxcarError: 69 if another process holds the lock for longer than 10 seconds.
    """
    with os_errors(run):
        (run / LOCK).touch()
    descriptor = storage.lock(run / LOCK)
    os.set_inheritable(descriptor, True)
    return descriptor
