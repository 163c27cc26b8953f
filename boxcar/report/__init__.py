"""The report step: one page for people, and `run.json` for scripts. May import `config` and the layers below it; no
other step. It does not load TensorFlow.
"""

import contextlib
import hashlib
import json
from typing import Any

from boxcar.report.evidence import Evidence, read_evidence
from boxcar.report.page import render, software
from boxcar.report.terminal import print_summary
from boxcar.run.layout import CONFIGURATION, DECISION, PAGE, REPORT, RUN_FILE, STEPS
from boxcar.run.step import Committed, Step, require_commit
from boxcar.storage import Missing, replace_json, replace_text
from boxcar.sync.mirror import Mirror

__all__ = ["print_summary", "write_report"]


def write_report(run: str) -> Committed:
    """Writes `<run>/report/index.html` and `<run>/run.json` from the results of the finished steps.

    The page is one file and needs no network. If it was made from the same results already, it is not written again.

    Args:
        run: URI of the run's folder.

    Raises:
        BoxcarError: 64 if a step is not finished (the message names it), 65 if its results were changed or cannot
            be read, 69 if the run's folder cannot be written.
    """
    place = Mirror(run)
    if place.remote:
        place.take_files([CONFIGURATION, RUN_FILE, DECISION])
        for name in STEPS.values():
            with contextlib.suppress(Missing):  # `read_evidence` names the missing step
                place.below(name).fetch()
    evidence = read_evidence(place.folder)
    inputs = {name: committed.digest for name, committed in evidence.committed.items()}
    if evidence.configuration is not None:
        inputs[CONFIGURATION] = hashlib.sha256(evidence.configuration.encode()).hexdigest()
    if evidence.decision is not None:
        inputs[DECISION] = hashlib.sha256(evidence.decision.model_dump_json().encode()).hexdigest()
    with place.below(REPORT).working() as folder:
        step = Step("report", folder, inputs, {})
        if step.done() is None:
            with step.writing() as report:
                replace_text(report / PAGE, render(evidence))
    committed = require_commit(folder, "report")
    _write_run_file(evidence, committed)
    place.send_file(RUN_FILE)
    return committed


def _write_run_file(evidence: Evidence, report: Committed) -> None:
    """Writes `run.json` if its content has changed."""
    test, specification = evidence.test, evidence.specification
    steps = {**evidence.committed, "report": report}
    content: dict[str, Any] = {
        "scores": {
            "AP": test.AP,
            "AP50": test.AP50,
            "AP75": test.AP75,
            "per_class": {name: score.model_dump() for name, score in test.per_class.items()},
        },
        # How many images of which splits each score is of.
        "scored_on": {"test": test.pictures},
        **({"ignored_objects": test.ignored} if test.ignored else {}),
        "chosen": {"AP": evidence.chosen_ap, "on": evidence.chosen_on},
        "compared_on": evidence.manifest.pictures,
        "seconds": {name: committed.seconds for name, committed in steps.items()},
        "dataset_version": evidence.dataset.version,
        "architecture": specification.architecture,
        "image_size": specification.image_size,
        "labels": {str(label): name for label, name in specification.labels.items()},
        "checkpoint_step": test.step,
        "code_version": {name: committed.code_version for name, committed in steps.items()},
        "versions": software(),
        "files": [file.model_dump() for file in evidence.manifest.files],
    }
    path = evidence.run / RUN_FILE
    if not path.exists() or path.read_bytes() != (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode():
        replace_json(path, content)
