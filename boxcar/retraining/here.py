"""The heavy parts of a retraining on this machine."""

from boxcar.doctor import visible_gpus
from boxcar.registry import Model
from boxcar.registry.gate import Compared, gate
from boxcar.report import write_report
from boxcar.retraining.retrain import Launcher
from boxcar.run.chain import run_all
from boxcar.run.configuration import Configuration
from boxcar.run.gate_settings import DECISION, GateSettings
from boxcar.storage import Mirror


def decide(model: Model, number: str, settings: GateSettings) -> Compared:
    """`registry.gate`, after which the run's page tells what became of it, where the run is still there."""
    compared = gate(model, number, settings)
    run = compared.record["challenger"]["run"]
    if {DECISION, "report"} <= Mirror(run).names():
        write_report(run)
    return compared


def _gpus(configuration: Configuration) -> int:
    return len(visible_gpus()) if configuration.gpus is None else configuration.gpus


LAUNCHER = Launcher(
    train=lambda configuration, run: run_all(configuration, run, resume=True),
    decide=lambda model, number, configuration, run: decide(model, number, configuration.gate),
    gpus=_gpus,
)
