"""The whole pipeline, from labeled images to exported files and a report."""

from typing import Any

from kfp import dsl

from boxcar.config.cluster_settings import ClusterSettings
from boxcar.kfp.form import TrainForm, takes
from components.convert import convert
from components.freeze import freeze
from components.notify import notify
from components.records import records
from components.report import report
from components.train import train
from pipelines.task_settings import Equipment

NAME = "train-detector"


def train_detector(images: ClusterSettings) -> Any:
    """The pipeline, with its images."""

    @dsl.pipeline(name=NAME, display_name="Boxcar: train a detector")
    @takes(TrainForm)
    def pipeline(form: dict[str, Any]) -> None:
        """Trains a detector on labeled images, and exports it for phones, browsers, and servers.

        Everything is written to one folder in your bucket: records, checkpoints, scores, exported files, and a report.
        """
        equipment = Equipment(NAME, images, form)
        ending = notify(output=form["output"], job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, resume_from=form["resume_from"])
        equipment.give(ending, "notify")
        with dsl.ExitHandler(ending, name="steps"):
            given = {name: value for name, value in form.items() if name != "webhook_secret"}
            started = records(**given, job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, images=images.image_settings())
            run = started.outputs["run"]
            trained = train(run=run, cluster=started.outputs["cluster"])
            frozen = freeze(architecture=form["architecture"], checkpoint=trained.outputs["Output"], run=run)
            converted = convert(run=run, records="", config="").after(frozen)
            written = report(run=run).after(converted)
            tasks = {"records": started, "train": trained, "freeze": frozen, "convert": converted, "report": written}
            for component, task in tasks.items():
                equipment.give(task, component)

    return pipeline
