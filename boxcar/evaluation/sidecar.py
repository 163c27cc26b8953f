"""The evaluator as a native sidecar. It ends at SIGTERM, because Kubernetes restarts a sidecar that ends by itself."""

import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType

from boxcar.errors import ExitCode, explain
from boxcar.evaluation.evaluator import evaluate
from boxcar.run.checkpoints import read_status
from boxcar.run.layout import EVAL, TRAIN, VERDICT
from boxcar.run.step import Committed
from boxcar.storage import make_folder, replace_json
from boxcar.sync.mirror import Mirror


def evaluate_as_sidecar(run: str) -> None:
    """Evaluates a run, writes `<run>/eval/verdict.json` after success or failure, and waits for SIGTERM.

    The verdict is {`state`: DONE or FAILED, `code`, `what`, `do`}: the exit code and the two sentences with which
    `boxcar evaluate` ends. Started again, a finished evaluation writes the same verdict, and one that failed resumes.

    During training, SIGTERM ends an evaluation like every step. After training, it does not: a pod's sidecars get SIGTERM
    when its trainer ends, and the trainer waits for the last checkpoint's score but not for the scores on the test split. The
    evaluation is then finished within the pod's grace period, and the function returns at once.

    Raises:
        KeyboardInterrupt: what the earlier handler of SIGTERM raises, during training.
        BoxcarError: 69 if the verdict cannot be written.
    """
    folder = Mirror(run).folder
    asked_to_stop = threading.Event()
    over = False
    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        status = read_status(folder / TRAIN)
        if not over and callable(before) and (status is None or status.state != "DONE"):
            before(number, frame)
        asked_to_stop.set()

    signal.signal(signal.SIGTERM, stop)
    try:
        (folder / EVAL / VERDICT).unlink(missing_ok=True)
        _write_verdict(folder, _attempt(run))
        over = True
        asked_to_stop.wait()
    finally:
        if signal.getsignal(signal.SIGTERM) is stop:  # else `before` ran, and must not run a second time
            signal.signal(signal.SIGTERM, before)


def _attempt(run: str) -> Committed | Exception:
    try:
        return evaluate(run, sidecar=True)
    except Exception as error:  # noqa: BLE001 - an evaluator that ends would only be restarted into the same error
        return error


def _write_verdict(folder: Path, outcome: Committed | Exception) -> None:
    if isinstance(outcome, Committed):
        verdict = {"state": "DONE", "code": int(ExitCode.DONE), "what": "Every checkpoint is scored.", "do": ""}
    else:
        failure = explain(outcome)
        if failure.code == ExitCode.DEFECT:
            traceback.print_exception(outcome)
        verdict = {"state": "FAILED", "code": int(failure.code), "what": failure.what, "do": failure.do}
    replace_json(make_folder(folder / EVAL) / VERDICT, verdict)
    print(f"{verdict['what']} {verdict['do']}".strip(), file=sys.stderr, flush=True)  # noqa: T201
