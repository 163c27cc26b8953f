"""Retraining a model: one step, which creates the Jobs that do the work and watches them."""

from typing import Any, NamedTuple

from kfp import dsl

from boxcar.config.cluster_settings import ClusterSettings
from boxcar.kfp.form import RetrainForm, describes


@dsl.component(base_image=ClusterSettings().image("ops"), install_kfp_package=False)
@describes(RetrainForm)
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
    """Retrains a model if its images have changed, and makes the result the champion if it is not worse.

    Args:
        images: Container registry, tag, and digests of the container images for the Jobs.

    Returns:
        outcome: Result of the retraining: unchanged, promoted, kept, or undecided.
        run: Folder of the run. Empty: there was no run.
        version: Number of the new version. Empty: there is no new version.
        decision: The outcome and its reason.
        scores: Scores of the new version and the champion on the model's test images.
        page: The run's report.
    """
    from boxcar.kfp.artifacts import show_retrained
    from boxcar.kfp.form import RetrainForm
    from boxcar.kfp.installation import run_task
    from boxcar.kfp.retraining import retrain as retrain_model

    form = RetrainForm.of(locals())

    def work() -> tuple[str, str, str]:
        ended = retrain_model(form, images)
        show_retrained(ended, decision, scores, page)
        return ended.outcome, ended.run or "", ended.version or ""

    outcome, run, version = run_task("retrain", work)
    return (outcome, run, version)
