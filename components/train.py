"""The training step: it creates the training Job, watches it, and outputs the scores."""

from kfp import dsl

from boxcar.config.cluster_settings import ClusterSettings


@dsl.component(base_image=ClusterSettings().image("ops"), install_kfp_package=False)
def train(
    run: str,
    cluster: str,
    checkpoint: dsl.Output[dsl.Model],
    scores: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
) -> str:
    """Trains the detector and scores every checkpoint. Creates the run's Job or finds it, and watches it until it ends.

    Args:
        run: Folder of the run.
        cluster: Settings of the cluster for the training Job, as JSON.

    Returns:
        Output: Prefix of the checkpoint with the highest AP.
        checkpoint: That checkpoint, and its scores on the test images.
        scores: AP and AP50 on the test images, overall and per class.
        confusion: Confusion matrix on the test images.
    """
    from boxcar.kfp.artifacts import show_training
    from boxcar.kfp.installation import run_task
    from boxcar.kfp.running import train as train_run

    def work() -> str:
        best = train_run(run, cluster)
        show_training(run, best, checkpoint, scores, confusion)
        return best

    return run_task("train", work, run)
