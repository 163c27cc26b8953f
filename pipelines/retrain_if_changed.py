"""Retraining a model if its images have changed: the pipeline for schedules."""

from typing import Any

from kfp import dsl

from boxcar.config.cluster_settings import ClusterSettings
from boxcar.kfp.form import RetrainForm, takes
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
        given = {name: value for name, value in form.items() if name != "webhook_secret"}
        Equipment(NAME, images, form).give(retrain(**given, images=images.image_settings()), "retrain")

    return pipeline
