"""The whole way: from labelled pictures to exported files and a report."""

from typing import Any

from kfp import dsl, kubernetes

from boxcar.config.run import DEFAULT_ARCHITECTURE
from boxcar.kfp.images import Images
from boxcar.run.webhook import WEBHOOK
from components.convert import convert
from components.freeze import freeze
from components.notify import notify
from components.records import records
from components.report import report
from components.train import train
from pipelines.tasks import Equipment

NAME = "train-detector"


def train_detector(images: Images) -> Any:
    """The pipeline, with its images."""

    @dsl.pipeline(name=NAME, display_name="Boxcar: train a detector")
    def pipeline(
        data: str,
        output: str,
        resume_from: str = "",
        architecture: str = DEFAULT_ARCHITECTURE,
        image_size: int = 0,
        steps: int = 0,
        initial_checkpoint: str = "",
        gpus: str = "1",
        gpu_type: str = "",
        node_pool: str = "",
        config: str = "",
        bucket_secret: str = "boxcar-bucket",  # noqa: S107 - a name
        webhook_secret: str = "boxcar-webhook",  # noqa: S107
    ) -> None:
        """Trains a detector on labelled pictures, and exports it for phones, browsers and servers.

        Everything lands in one folder in your bucket: records, checkpoints, scores, exported files and a report.

        Args:
            data: Folder with your pictures and labelImg's XML files: s3://bucket/folder or gs://bucket/folder.
            output: Folder for runs. Each run gets a folder of its own in it, called as the run's id is.
            resume_from: Folder of an older run to go on with, s3://bucket/runs/<id>. The other fields must say what they said
                then: clone that run and fill in this one. Empty: a new run.
            architecture: Which detector to train; `boxcar architectures` lists them.
            image_size: Side of the network's input in pixels, a multiple of 32. 0: the architecture's own.
            steps: Training steps. 0: as many as your data needs.
            initial_checkpoint: Weights to start from: none, zoo, or a checkpoint such as s3://bucket/zoo/ckpt-0. Empty: the
                zoo's, where they can be had.
            gpus: How many GPUs to train on. 0: train on the CPU pool.
            gpu_type: What nodes call a GPU: nvidia.com/gpu. Empty: what the operator has set.
            node_pool: Nodes to train on, by a label of theirs: cloud.google.com/gke-nodepool=gpus. Empty: what the operator
                has set.
            config: YAML file with further settings, s3://bucket/config.yaml; the fields here win. Empty: none.
            bucket_secret: Name of the Secret in this namespace that opens the bucket: its keys become variables, and
                key.json is a key to Google Cloud Storage. With workload identity there is none: leave this as it is.
            webhook_secret: Name of a Secret whose key url is where to post how the run ended. Without one, leave this as it is.
        """
        equipment = Equipment(NAME, images, bucket_secret)
        told = notify(output=output, job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, resume_from=resume_from)
        equipment.give(told, "notify")
        kubernetes.use_secret_as_env(told, webhook_secret, {"url": WEBHOOK}, optional=True)
        with dsl.ExitHandler(told, name="steps"):
            begun = records(
                data=data,
                output=output,
                job=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
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
                images=images.settings(),
            )
            run = begun.outputs["run"]
            trained = train(run=run, cluster=begun.outputs["cluster"])
            frozen = freeze(architecture=architecture, checkpoint=trained.outputs["Output"], run=run)
            converted = convert(run=run, records="", config="").after(frozen)
            written = report(run=run).after(converted)
            steps_in_order = {
                "records": begun,
                "train": trained,
                "freeze": frozen,
                "convert": converted,
                "report": written,
            }
            for component, task in steps_in_order.items():
                equipment.give(task, component)

    return pipeline
