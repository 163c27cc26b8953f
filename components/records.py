"""The first step: it checks the form, and makes records from labeled images."""

from typing import Any, NamedTuple

from kfp import dsl

from boxcar.config.cluster_settings import ClusterSettings
from boxcar.kfp.form import TrainForm, describes


@dsl.component(base_image=ClusterSettings().image("records"), install_kfp_package=False)
@describes(TrainForm)
def records(
    data: str,
    output: str,
    job: str,
    resume_from: str,
    architecture: str,
    image_size: int,
    steps: int,
    initial_checkpoint: str,
    gpus: str,
    gpu_type: str,
    node_pool: str,
    config: str,
    bucket_secret: str,
    images: dict[str, Any],
    dataset: dsl.Output[dsl.Dataset],
) -> NamedTuple("Started", [("run", str), ("cluster", str)]):  # type: ignore[valid-type]
    """Checks the parameters, starts the run, and makes records from the labeled images.

    Args:
        job: Name of a new run's folder: the id of the Kubeflow run.
        images: Container registry, tag, and digests of the container images for the run's Jobs.

    Returns:
        run: Folder of the run.
        cluster: Settings of the cluster for the training Job, as JSON.
        dataset: The data set: its version, classes, and splits.
    """
    from boxcar.kfp.artifacts import show_records
    from boxcar.kfp.form import TrainForm
    from boxcar.kfp.installation import run_task
    from boxcar.kfp.parameters import run_uri
    from boxcar.kfp.running import StartedRun, start_run

    form = TrainForm.of(locals())

    def work() -> StartedRun:
        started = start_run(form, job, images)
        show_records(started.run, dataset)
        return started

    started = run_task("records", work, run_uri(output, job, resume_from))
    return (started.run, started.cluster)
