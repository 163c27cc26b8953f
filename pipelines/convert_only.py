"""A checkpoint that is there already becomes exported files."""

from typing import Any

from kfp import dsl, kubernetes

from boxcar.config.run import DEFAULT_ARCHITECTURE
from boxcar.kfp.images import Images
from boxcar.run.webhook import WEBHOOK
from components.convert import convert
from components.freeze import freeze
from components.notify import notify
from pipelines.tasks import Equipment

NAME = "convert-only"


def convert_only(images: Images) -> Any:
    """The pipeline, with its images."""

    @dsl.pipeline(name=NAME, display_name="Boxcar: convert a checkpoint")
    def pipeline(
        checkpoint: str,
        records: str,
        output: str,
        architecture: str = DEFAULT_ARCHITECTURE,
        config: str = "",
        bucket_secret: str = "boxcar-bucket",  # noqa: S107 - a name
        webhook_secret: str = "boxcar-webhook",  # noqa: S107
    ) -> None:
        """Exports a checkpoint for phones, browsers and servers, without training.

        Args:
            checkpoint: The checkpoint without its endings: s3://bucket/runs/<id>/train/ckpt-500.
            records: Records that it was trained on, for calibration and checks: s3://bucket/runs/<id>/records.
            output: Folder for the files, which lie in its folder export then.
            architecture: Which detector the checkpoint is of.
            config: YAML file with settings of the conversion, such as formats: [all]. Empty: the usual files.
            bucket_secret: Name of the Secret in this namespace that opens the bucket: its keys become variables, and
                key.json is a key to Google Cloud Storage. With workload identity there is none: leave this as it is.
            webhook_secret: Name of a Secret whose key url is where to post how the run ended. Without one, leave this as it is.
        """
        equipment = Equipment(NAME, images, bucket_secret)
        told = notify(output=output, job="", resume_from="")
        equipment.give(told, "notify")
        kubernetes.use_secret_as_env(told, webhook_secret, {"url": WEBHOOK}, optional=True)
        with dsl.ExitHandler(told, name="steps"):
            frozen = freeze(architecture=architecture, checkpoint=checkpoint, run=output, records=records, config=config)
            equipment.give(frozen, "freeze")
            converted = convert(run=output, records=records, config=config).after(frozen)
            equipment.give(converted, "convert")

    return pipeline
