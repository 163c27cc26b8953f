"""Training a model anew: one step, which has Jobs do the work and watches them."""

from typing import Any, NamedTuple

from kfp import dsl

from boxcar.kfp.images import OPS


@dsl.component(base_image=OPS, install_kfp_package=False)
def retrain(
    data: str,
    models: str,
    model: str,
    runs: str,
    architecture: str,
    image_size: int,
    steps: int,
    initial_checkpoint: str,
    gpus: str,
    gpu_type: str,
    node_pool: str,
    new_pictures: int,
    gpu_hours: str,
    config: str,
    bucket_secret: str,
    images: dict[str, Any],
    decision: dsl.Output[dsl.Markdown],
    scores: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.HTML],
) -> NamedTuple("Ended", [("outcome", str), ("run", str), ("version", str)]):  # type: ignore[valid-type]
    """Trains a model anew where its pictures have changed, and makes the result the champion where it is not worse.

    Args:
        data: Folder with pictures and labelImg's XML files, s3:// or gs://.
        models: Folder of models.
        model: Name of the model; its first run begins it.
        runs: Folder that the run's own folder is made in.
        architecture: Which detector to train.
        image_size: Side of the network's input in pixels; 0 for the architecture's own.
        steps: Training steps; 0 for as many as the data needs.
        initial_checkpoint: Weights to start from in place of the champion's; empty for the champion's.
        gpus: How many GPUs the training Job asks for; 0 trains on CPUs.
        gpu_type: What nodes call a GPU; empty for what the operator has set.
        node_pool: Label of the nodes to train on; empty for what the operator has set.
        new_pictures: New labelled pictures that there must be; 0 trains on any change.
        gpu_hours: Hours of GPUs that the model's retrainings may take in a month; empty for any number.
        config: YAML file with further settings; empty for none.
        bucket_secret: Name of the Secret that opens the bucket.
        images: Where the Jobs' images are pulled from, as the cluster's settings have it.

    Returns:
        outcome: How it ended: unchanged, promoted, kept or undecided.
        run: Folder of the run; empty where none was made.
        version: Number of the version that came of it; empty where none did.
        decision: The outcome and its reason.
        scores: Of the new version and the champion on the model's test pictures.
        page: The run's report.
    """
    from boxcar.kfp.artifacts import show_retrained
    from boxcar.kfp.installation import run_task
    from boxcar.kfp.parameters import Parameters
    from boxcar.kfp.retraining import retrain as retrain_model

    form = Parameters(
        data=data,
        output=runs,
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

    def work() -> tuple[str, str, str]:
        ended = retrain_model(form, models, model, new_pictures, gpu_hours, images)
        show_retrained(ended, decision, scores, page)
        return ended.outcome, ended.run or "", ended.version or ""

    outcome, run, version = run_task("retrain", work)
    return (outcome, run, version)
