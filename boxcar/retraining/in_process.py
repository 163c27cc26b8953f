"""Training and comparing on this machine."""

from typing import Any

from boxcar.config.gate_settings import GateSettings
from boxcar.config.run_settings import Configuration
from boxcar.doctor import visible_gpus
from boxcar.local.step_chain import run_all
from boxcar.registry import Model, read_aliases, read_version
from boxcar.registry.decision_files import last_promotion, restore_decision
from boxcar.registry.gate import gate
from boxcar.report import write_report
from boxcar.retraining.cycle import RetrainingLauncher
from boxcar.run.layout import DECISION, REPORT
from boxcar.sync.mirror import Mirror


def decide(model: Model, number: str, settings: GateSettings) -> dict[str, Any]:
    """Calls `registry.gate.gate`, and then adds the decision to the report of the version's run if the run still exists."""
    decision = gate(model, number, settings)
    _update_report(decision["challenger"]["run"])
    return decision


def restore(model: Model, number: str) -> bool:
    """Adds the decision on a promoted version to its run and report if the gate was killed before it did.

    Returns:
        Whether the decision was missing from the run.
    """
    missing = restore_decision(model, number)
    _update_report(read_version(model, number).run)
    return missing


def _update_report(run: str) -> None:
    if {DECISION, REPORT} <= Mirror(run).names():
        write_report(run)


def _train(configuration: Configuration, run: str) -> None:
    run_all(configuration, run, resume=True)
    _update_report(run)  # a run that was killed between the decision and the report


def _decide(model: Model, number: str, configuration: Configuration, run: str) -> None:
    if last_promotion(read_aliases(model), number) is not None:
        restore(model, number)
    else:
        decide(model, number, configuration.gate)


def _gpus(configuration: Configuration) -> int:
    return len(visible_gpus()) if configuration.gpus is None else configuration.gpus


LAUNCHER = RetrainingLauncher(train=_train, decide=_decide, gpus=_gpus)
