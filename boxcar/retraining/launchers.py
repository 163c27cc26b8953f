"""Where the heavy parts of a retraining are done."""

from boxcar.cluster import decide_on_cluster, gpu_count, run_on_cluster
from boxcar.doctor import visible_gpus
from boxcar.registry import DECISION, Compared, Model, gate
from boxcar.report import write_report
from boxcar.retraining.retrain import Launcher
from boxcar.run.chain import run_all
from boxcar.run.configuration import Configuration
from boxcar.run.gate_settings import GateSettings
from boxcar.storage import Mirror


def decide(model: Model, number: str, settings: GateSettings) -> Compared:
    """`registry.gate`, after which the run's page tells what became of it, where the run is still there."""
    compared = gate(model, number, settings)
    run = compared.record["challenger"]["run"]
    if {DECISION, "report"} <= Mirror(run).names():
        write_report(run)
    return compared


def _gpus_here(configuration: Configuration) -> int:
    return len(visible_gpus()) if configuration.gpus is None else configuration.gpus


LOCAL = Launcher(
    train=lambda configuration, run: run_all(configuration, run, resume=True),
    decide=lambda model, number, configuration, run: decide(model, number, configuration.gate),
    gpus=_gpus_here,
)
CLUSTER = Launcher(
    train=lambda configuration, run: run_on_cluster(configuration, run, resume=True),
    decide=lambda model, number, configuration, run: decide_on_cluster(
        configuration, run, ["--models", model.models, "--model", model.name, "--version", number]
    ),
    gpus=lambda configuration: gpu_count(configuration) * configuration.cluster.machines,
)
