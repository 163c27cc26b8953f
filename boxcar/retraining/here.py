"""The heavy parts of a retraining on this machine."""

from boxcar.config.gate_settings import GateSettings
from boxcar.config.run_settings import Configuration
from boxcar.doctor import visible_gpus
from boxcar.local.step_chain import run_all
from boxcar.registry import Model, read_aliases, read_version
from boxcar.registry.gate import Compared, gate
from boxcar.registry.promotions import last_promotion, tell_run_again
from boxcar.report import write_report
from boxcar.retraining.cycle import RetrainingLauncher
from boxcar.run.layout import DECISION, REPORT
from boxcar.sync.mirror import Mirror


def decide(model: Model, number: str, settings: GateSettings) -> Compared:
    """`registry.gate`, after which the run's page tells what became of it, where the run is still there."""
    compared = gate(model, number, settings)
    _tell_on_page(compared.record["challenger"]["run"])
    return compared


def tell_decided(model: Model, number: str) -> bool:
    """Sees that the run of a version that was made the champion tells of it; who did that may have been killed on the way.

    Returns:
        Whether its decision was missing.
    """
    missing = tell_run_again(model, number)
    _tell_on_page(read_version(model, number).run)
    return missing


def _tell_on_page(run: str) -> None:
    if {DECISION, REPORT} <= Mirror(run).names():
        write_report(run)


def _train(configuration: Configuration, run: str) -> None:
    run_all(configuration, run, resume=True)
    _tell_on_page(run)  # what was decided of it before, where it was killed just then


def _decide(model: Model, number: str, configuration: Configuration, run: str) -> None:
    if last_promotion(read_aliases(model), number) is not None:
        tell_decided(model, number)
    else:
        decide(model, number, configuration.gate)


def _gpus(configuration: Configuration) -> int:
    return len(visible_gpus()) if configuration.gpus is None else configuration.gpus


LAUNCHER = RetrainingLauncher(train=_train, decide=_decide, gpus=_gpus)
