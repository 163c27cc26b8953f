"""Training a model anew where its pictures have changed: what a schedule starts."""

from typing import Any

from kfp import dsl, kubernetes

from boxcar.config.run import DEFAULT_ARCHITECTURE
from boxcar.kfp.images import Images
from boxcar.run.webhook import WEBHOOK
from components.retrain import retrain
from pipelines.tasks import Equipment

NAME = "retrain-if-changed"


def retrain_if_changed(images: Images) -> Any:
    """The pipeline, with its images. It is one task: most nights there is nothing to do, and each task takes two pods."""

    @dsl.pipeline(name=NAME, display_name="Boxcar: train a model anew if its pictures have changed")
    def pipeline(
        data: str,
        models: str,
        model: str,
        runs: str,
        architecture: str = DEFAULT_ARCHITECTURE,
        image_size: int = 0,
        steps: int = 0,
        initial_checkpoint: str = "",
        gpus: str = "1",
        gpu_type: str = "",
        node_pool: str = "",
        new_pictures: int = 0,
        gpu_hours: str = "",
        config: str = "",
        bucket_secret: str = "boxcar-bucket",  # noqa: S107 - a name
        webhook_secret: str = "boxcar-webhook",  # noqa: S107
    ) -> None:
        """Trains a model anew if its pictures have changed, and makes the result the champion if it is not worse.

        Nothing new: it ends at once. Start it by a schedule.

        Args:
            data: Folder with your pictures and labelImg's XML files: s3://bucket/folder or gs://bucket/folder.
            models: Folder of models: s3://bucket/models.
            model: Name of the model in it. Its first run begins it.
            runs: Folder for runs. Each gets a folder of its own in it.
            architecture: Which detector to train; `boxcar architectures` lists them.
            image_size: Side of the network's input in pixels, a multiple of 32. 0: the architecture's own.
            steps: Training steps. 0: as many as your data needs.
            initial_checkpoint: Weights to start from each time: none, zoo, or a checkpoint. Empty: the champion's, and the
                first time the zoo's, where they can be had.
            gpus: How many GPUs to train on. 0: train on the CPU pool.
            gpu_type: What nodes call a GPU: nvidia.com/gpu. Empty: what the operator has set.
            node_pool: Nodes to train on, by a label of theirs: cloud.google.com/gke-nodepool=gpus. Empty: what the operator
                has set.
            new_pictures: Wait for so many new labelled pictures. 0: any change counts.
            gpu_hours: Hours of GPUs that retrainings of the model may take in a month. Empty: any number.
            config: YAML file with further settings, s3://bucket/config.yaml, such as those of the gate; the fields here win.
                Empty: none.
            bucket_secret: Name of the Secret in this namespace that opens the bucket: its keys become variables, and
                key.json is a key to Google Cloud Storage. Not needed with workload identity.
            webhook_secret: Name of a Secret whose key url is where to post how it ended. Not needed.
        """
        task = retrain(
            data=data,
            models=models,
            model=model,
            runs=runs,
            architecture=architecture,
            image_size=image_size,
            steps=steps,
            initial_checkpoint=initial_checkpoint,
            gpus=gpus,
            gpu_type=gpu_type,
            node_pool=node_pool,
            new_pictures=new_pictures,
            gpu_hours=gpu_hours,
            config=config,
            bucket_secret=bucket_secret,
            images=images.settings(),
        )
        Equipment(NAME, images, bucket_secret).give(task, "retrain")
        kubernetes.use_secret_as_env(task, webhook_secret, {"url": WEBHOOK}, optional=True)

    return pipeline
