"""The evaluator as a native sidecar: it ends when it is told to, because one that ends by itself is started again."""

import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType

from boxcar.errors import ExitCode, explain
from boxcar.evaluation.step import evaluate
from boxcar.run.checkpoints import read_status
from boxcar.run.layout import EVAL, TRAIN, VERDICT
from boxcar.run.step import Committed
from boxcar.storage import make_folder, replace_json
from boxcar.sync.mirror import Mirror


def evaluate_beside(run: str) -> None:
    """Evaluates a run, writes `<run>/eval/verdict.json` when that is over, well or badly, and waits for SIGTERM.

    The verdict is {`state`: DONE or FAILED, `code`, `what`, `do`}: the exit code and the two sentences that `boxcar evaluate`
    would have ended with. Started again behind it, a finished evaluation gives the same one, and one that failed goes on.

    SIGTERM ends an evaluation as it ends every step while training goes on. When training is DONE it does not: a pod's
    sidecars are told to stop once its trainer has ended, which waits for the last checkpoint's score but not for those of the
    test pictures. What is left is then finished within the pod's grace, and the function returns without waiting.

    Raises:
        KeyboardInterrupt: what the handler of SIGTERM raises that was there before, while training goes on.
        BoxcarError: 69 where the verdict cannot be written.
    """
    folder = Mirror(run).folder
    told = threading.Event()
    over = False
    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        status = read_status(folder / TRAIN)
        if not over and callable(before) and (status is None or status.state != "DONE"):
            before(number, frame)
        told.set()

    signal.signal(signal.SIGTERM, stop)
    try:
        (folder / EVAL / VERDICT).unlink(missing_ok=True)
        _say(folder, _attempt(run))
        over = True
        told.wait()
    finally:
        if signal.getsignal(signal.SIGTERM) is stop:  # else it was `before` that had its say, and wants no second one
            signal.signal(signal.SIGTERM, before)


def _attempt(run: str) -> Committed | Exception:
    try:
        return evaluate(run, sidecar=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, an evaluator that dies of it is only started into it again
        return error


def _say(folder: Path, outcome: Committed | Exception) -> None:
    if isinstance(outcome, Committed):
        verdict = {"state": "DONE", "code": int(ExitCode.DONE), "what": "Every checkpoint is scored.", "do": ""}
    else:
        failure = explain(outcome)
        if failure.code == ExitCode.DEFECT:
            traceback.print_exception(outcome)
        verdict = {"state": "FAILED", "code": int(failure.code), "what": failure.what, "do": failure.do}
    replace_json(make_folder(folder / EVAL) / VERDICT, verdict)
    print(f"{verdict['what']} {verdict['do']}".strip(), file=sys.stderr, flush=True)  # noqa: T201
