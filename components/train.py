"""The training step: it does not train, but has a Job do so, and watches it. Scores come out of it, too."""

from kfp import dsl

from boxcar.kfp.images import OPS


@dsl.component(base_image=OPS, install_kfp_package=False)
def train(
    run: str,
    cluster: str,
    checkpoint: dsl.Output[dsl.Model],
    scores: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
) -> str:
    """Trains the detector and scores every checkpoint: creates the run's Job, or finds it again, and watches it to its end.

    Args:
        run: Folder of the run.
        cluster: Settings of the cluster for the training Job, as JSON.

    Returns:
        Output: The checkpoint of the highest AP, without its endings.
        checkpoint: That checkpoint, and its scores on the test pictures.
        scores: AP and AP50 on the test pictures, of all classes and of each.
        confusion: Which class is taken for which, on the test pictures.
    """
    from boxcar.kfp.artifacts import show_training
    from boxcar.kfp.installation import run_task
    from boxcar.kfp.running import train as train_run

    def work() -> str:
        best = train_run(run, cluster)
        show_training(run, best, checkpoint, scores, confusion)
        return best

    return run_task("train", work, run)
