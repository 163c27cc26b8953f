"""The first step: what was filled in is checked, and labelled pictures become records."""

from typing import Any, NamedTuple

from kfp import dsl

from boxcar.kfp.images import RECORDS


@dsl.component(base_image=RECORDS, install_kfp_package=False)
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
) -> NamedTuple("Begun", [("run", str), ("cluster", str)]):  # type: ignore[valid-type]
    """Checks the parameters, begins the run, and makes records of the labelled pictures.

    Args:
        data: Folder with pictures and labelImg's XML files, s3:// or gs://.
        output: Folder that the run's own folder is made in.
        job: Name of a new run's folder: the id of the Kubeflow run.
        resume_from: Folder of an older run to go on with; empty for a new one.
        architecture: Which detector to train.
        image_size: Side of the network's input in pixels; 0 for the architecture's own.
        steps: Training steps; 0 for as many as the data needs.
        initial_checkpoint: Weights to start from; empty for the zoo's, where they can be had.
        gpus: How many GPUs the training Job asks for; 0 trains on CPUs.
        gpu_type: What nodes call a GPU; empty for what the operator has set.
        node_pool: Label of the nodes to train on; empty for what the operator has set.
        config: YAML file with further settings; empty for none.
        bucket_secret: Name of the Secret that opens the bucket.
        images: Where the training Job's image is pulled from, as the cluster's settings have it.

    Returns:
        run: Folder of the run.
        cluster: Settings of the cluster for the training Job, as JSON.
        dataset: The data set: its version, its classes, its splits.
    """
    from boxcar.kfp.artifacts import show_records
    from boxcar.kfp.installation import run_task
    from boxcar.kfp.parameters import Parameters, run_uri
    from boxcar.kfp.running import Begun, begin

    form = Parameters(
        data=data,
        output=output,
        resume_from=resume_from,
        architecture=architecture,
        image_size=image_size,
        steps=steps,
        initial_checkpoint=initial_checkpoint,
        gpus=gpus,
        gpu_type=gpu_type,
        node_pool=node_pool,
        config=config,
        bucket_secret=bucket_secret,
    )

    def work() -> Begun:
        begun = begin(form, job, images)
        show_records(begun.run, dataset)
        return begun

    begun = run_task("records", work, run_uri(output, job, resume_from))
    return (begun.run, begun.cluster)
