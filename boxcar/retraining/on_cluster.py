"""Training and comparing as Jobs on a cluster. This module does not load the code that trains, converts, or scores."""

from boxcar.cluster.job_chain import decide_on_cluster, run_on_cluster
from boxcar.cluster.trainer_job import gpu_count
from boxcar.retraining.cycle import RetrainingLauncher

LAUNCHER = RetrainingLauncher(
    train=lambda configuration, run: run_on_cluster(configuration, run, resume=True),
    decide=lambda model, number, configuration, run: decide_on_cluster(
        configuration, run, ["--models", model.models, "--model", model.name, "--version", number]
    ),
    gpus=lambda configuration: gpu_count(configuration) * configuration.cluster.machines,
)
