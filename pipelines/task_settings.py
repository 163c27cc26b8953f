"""What every task of every pipeline gets: image, resources, security, and what the operator has set up."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from kfp import dsl, kubernetes

from boxcar import __version__
from boxcar.config.cluster_settings import ClusterSettings
from boxcar.kfp.installation import ENVIRONMENT, SECRET, SETTINGS
from boxcar.kfp.parameters import WATCH_HOURS
from boxcar.run.layout import IMAGE, PIPELINE_VERSION
from boxcar.run.webhook import WEBHOOK

# ConfigMaps that the chart makes. Without the chart there are none, and none is needed.
_ENVIRONMENT, _SETTINGS = "boxcar-environment", "boxcar-settings"
_USER = 10001  # of our images
_WORK = "/work"  # their HOME, TMPDIR and cache
_IMAGE_NOTE = "boxcar.dev/image"


class Needs(NamedTuple):
    """The name of a component's container image, its CPUs and memory (request and limit), and hours until its deadline."""

    image: str
    cpu: str
    memory: str
    hours: int


NEEDS = {
    "records": Needs("records", "2", "4Gi", 12),
    "train": Needs("ops", "500m", "1Gi", WATCH_HOURS),  # it watches
    "retrain": Needs("ops", "500m", "2Gi", WATCH_HOURS),  # it watches, and copies a version
    "freeze": Needs("train", "2", "6Gi", 2),
    "convert": Needs("convert", "2", "8Gi", 12),
    "report": Needs("convert", "1", "4Gi", 2),
    "notify": Needs("ops", "200m", "512Mi", 1),
}


@dataclass(frozen=True)
class Equipment:
    """What the tasks of one pipeline get.

    Attributes:
        pipeline: its name.
        images: the settings that name the container images.
        form: the pipeline's parameters, with the names of Secrets.
    """

    pipeline: str
    images: ClusterSettings
    form: dict[str, Any]

    def give(self, task: dsl.PipelineTask, component: str) -> None:
        """Equips a task; `component` is its name in NEEDS."""
        needs = NEEDS[component]
        image = self.images.image(needs.image)
        task.set_display_name(component)
        task.set_container_image(image)
        # A URI says nothing about its content: the step itself finds out whether there is anything to do.
        task.set_caching_options(False)
        task.set_cpu_request(needs.cpu).set_cpu_limit(needs.cpu)
        task.set_memory_request(needs.memory).set_memory_limit(needs.memory)
        task.set_env_variable(PIPELINE_VERSION, f"{self.pipeline} {__version__}")
        # From an annotation, so only in a pod: on a laptop nothing runs in that image.
        kubernetes.add_pod_annotation(task, _IMAGE_NOTE, image)
        kubernetes.use_field_path_as_env(task, IMAGE, f"metadata.annotations['{_IMAGE_NOTE}']")
        # `part-of`, not `name`: the chart's network policies isolate pods of that name, and Kubeflow's need more.
        kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "boxcar")
        kubernetes.add_pod_label(task, "app.kubernetes.io/component", component)
        kubernetes.set_timeout(task, needs.hours * 3600)
        kubernetes.set_image_pull_policy(task, "IfNotPresent")
        kubernetes.set_security_context(task, run_as_user=_USER, run_as_group=_USER, run_as_non_root=True)
        kubernetes.empty_dir_mount(task, "work", _WORK, size_limit="20Gi")
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="512Mi")  # noqa: S108
        kubernetes.use_secret_as_volume(task, self.form["bucket_secret"], str(SECRET), optional=True)
        kubernetes.use_config_map_as_volume(task, _ENVIRONMENT, str(ENVIRONMENT), optional=True)
        kubernetes.use_config_map_as_volume(task, _SETTINGS, str(SETTINGS), optional=True)
        if component in ("notify", "retrain"):
            kubernetes.use_secret_as_env(task, self.form["webhook_secret"], {"url": WEBHOOK}, optional=True)
