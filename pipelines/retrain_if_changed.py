"""Retraining a model if its images have changed: the pipeline for schedules."""

from typing import Any

from kfp import dsl, kubernetes

from boxcar.config.cluster_settings import ClusterSettings
from boxcar.kfp.form import RetrainForm, takes
from boxcar.run.webhook import WEBHOOK
from components.retrain import retrain
from pipelines.task_settings import Equipment

NAME = "retrain-if-changed"


def retrain_if_changed(images: ClusterSettings) -> Any:
    """The pipeline, with its images. It is one task: on most nights there is nothing to do, and each task takes two pods."""

    @dsl.pipeline(name=NAME, display_name="Boxcar: retrain a model if its images have changed")
    @takes(RetrainForm)
    def pipeline(form: dict[str, Any]) -> None:
        """Retrains a model if its images have changed, and makes the result the champion if it is not worse.

        If nothing has changed, the pipeline ends at once. Start it with a schedule.
        """
        webhook_secret = form.pop("webhook_secret")
        task = retrain(**form, images=images.image_settings())
        Equipment(NAME, images, form["bucket_secret"]).give(task, "retrain")
        kubernetes.use_secret_as_env(task, webhook_secret, {"url": WEBHOOK}, optional=True)

    return pipeline
