"""Exports files from an existing checkpoint."""

from typing import Any

from kfp import dsl

from boxcar.config.cluster_settings import ClusterSettings
from boxcar.kfp.form import ConversionForm, takes
from components.convert import convert
from components.freeze import freeze
from components.notify import notify
from pipelines.task_settings import Equipment

NAME = "convert-only"


def convert_only(images: ClusterSettings) -> Any:
    """The pipeline, with its images."""

    @dsl.pipeline(name=NAME, display_name="Boxcar: convert a checkpoint")
    @takes(ConversionForm)
    def pipeline(form: dict[str, Any]) -> None:
        """Exports a checkpoint for phones, browsers, and servers, without training."""
        equipment = Equipment(NAME, images, form)
        ending = notify(output=form["output"], job="", resume_from="")
        equipment.give(ending, "notify")
        with dsl.ExitHandler(ending, name="steps"):
            given = {name: form[name] for name in ("architecture", "checkpoint", "records", "config")}
            frozen = freeze(**given, run=form["output"])
            equipment.give(frozen, "freeze")
            converted = convert(run=form["output"], records=form["records"], config=form["config"]).after(frozen)
            equipment.give(converted, "convert")

    return pipeline
