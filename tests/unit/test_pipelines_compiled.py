"""The compiled pipelines, as they lie here for a person to upload."""

import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from compiled import lying, read
from pydantic_core import PydanticUndefined

from boxcar import __version__
from boxcar.config.cluster_settings import ClusterSettings
from boxcar.config.run_settings import make_configuration
from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.form import FORMS, Form, TrainForm, describes, parameters
from boxcar.kfp.package import compiled_folder
from boxcar.kfp.parameters import MOST_DEADLINE_HOURS, WATCH_HOURS
from pipelines.compile import PIPELINES, compile_pipeline
from pipelines.document import PAGE, document
from pipelines.task_settings import NEEDS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", PIPELINES)
def test_what_lies_here_is_what_is_compiled(name: str) -> None:
    assert (compiled_folder() / f"{name}.yaml").read_text(encoding="utf-8") == compile_pipeline(name, ClusterSettings())


def test_nothing_else_lies_there() -> None:
    assert sorted(path.name for path in compiled_folder().iterdir()) == sorted(f"{name}.yaml" for name in PIPELINES)


@pytest.mark.parametrize("name", PIPELINES)
def test_every_input_and_output_explains_itself(name: str) -> None:
    spec = lying(name).spec
    assert spec["pipelineInfo"]["description"]
    levels = {"the pipeline": spec["root"], **{n: c for n, c in spec["components"].items() if "executorLabel" in c}}
    assert len(levels) > 1
    for level, definition in levels.items():
        for kind in ("inputDefinitions", "outputDefinitions"):
            for entries in definition.get(kind, {}).values():
                for entry, about in entries.items():
                    if about.get("parameterType") == "TASK_FINAL_STATUS":
                        continue  # Kubeflow's own; no form shows it
                    words = about.get("description", "")
                    assert re.fullmatch(r"[A-Z].*\.", words, re.DOTALL), f"{level}: {entry}: {words!r}"


@pytest.mark.parametrize(("name", "form"), FORMS.items())
def test_a_pipeline_and_its_page_have_the_parameters_of_its_form(name: str, form: type[Form]) -> None:
    compiled = lying(name.replace("-", "_")).spec["root"]["inputDefinitions"]["parameters"]
    types = {str: "STRING", int: "NUMBER_INTEGER"}
    expected = {one: (types[about.annotation], about.description) for one, about in parameters(form).items()}
    assert {one: (about["parameterType"], about["description"]) for one, about in compiled.items()} == expected
    for one, about in parameters(form).items():
        assert compiled[one].get("defaultValue", PydanticUndefined) == about.default


def test_the_page_of_the_parameters_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert document(page) == page, "run `make pipelines`"


def test_a_component_that_differs_from_its_form_is_refused() -> None:
    def component(data: str, output: str, steps: str) -> None:
        """Args:
        data: Something else.
        """

    with pytest.raises(TypeError, match=r"component does not take .*image_size, steps, .* as TrainForm"):
        describes(TrainForm)(component)


@pytest.mark.parametrize("name", PIPELINES)
def test_nothing_is_cached(name: str) -> None:
    tasks = dict(lying(name).tasks())
    assert len(tasks) == {"train_detector": 6, "convert_only": 3, "retrain_if_changed": 1}[name]
    for task, definition in tasks.items():
        assert definition["cachingOptions"] == {}, task  # `enableCache` would stand there


@pytest.mark.parametrize("name", PIPELINES)
def test_every_task_is_equipped(name: str) -> None:
    compiled = lying(name)
    assert compiled.executors.keys() == compiled.kubernetes.keys()
    for label, container in compiled.executors.items():
        component = label.removeprefix("exec-")
        needs, pod = NEEDS[component], compiled.kubernetes[label]
        image = f"docker.io/boxcar/{needs.image}:{__version__}"
        assert container["image"] == image
        resources = container["resources"]
        assert resources["resourceCpuRequest"] == resources["resourceCpuLimit"] == needs.cpu
        assert resources["resourceMemoryRequest"] == resources["resourceMemoryLimit"] == needs.memory
        assert "accelerator" not in resources, "no task asks for a GPU: the Job does"
        # Variables with a value are no secrets: they stand here in clear.
        pipeline = compiled.spec["pipelineInfo"]["name"]
        assert container["env"] == [{"name": "BOXCAR_PIPELINE_VERSION", "value": f"{pipeline} {__version__}"}]
        assert "pip install" not in " ".join(container["command"])
        assert pod["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
        assert {"volumeName": "shm", "mountPath": "/dev/shm", "medium": "Memory", "sizeLimit": "512Mi"} in pod["emptyDirMounts"]
        assert any(mount["mountPath"] == "/work" for mount in pod["emptyDirMounts"])
        labels = {"app.kubernetes.io/part-of": "boxcar", "app.kubernetes.io/component": component}
        assert pod["podMetadata"] == {"labels": labels, "annotations": {"boxcar.dev/image": image}}
        assert pod["fieldPathAsEnv"] == [
            {"name": "BOXCAR_IMAGE", "fieldPath": "metadata.annotations['boxcar.dev/image']"},
        ]
        assert pod["imagePullPolicy"] == "IfNotPresent"
        assert int(pod["activeDeadlineSeconds"]) == needs.hours * 3600
        assert [volume["mountPath"] for volume in pod["secretAsVolume"]] == ["/var/run/secrets/boxcar.dev/bucket"]
        assert {mount["configMapName"] for mount in pod["configMapAsVolume"]} == {"boxcar-environment", "boxcar-settings"}
        for volume in (*pod["secretAsVolume"], *pod["configMapAsVolume"], *pod.get("secretAsEnv", [])):
            assert volume["optional"] is True
        for volume in (*pod["secretAsVolume"], *pod.get("secretAsEnv", [])):
            assert "componentInputParameter" in volume["secretNameParameter"]


def test_what_becomes_a_gpu_count_is_a_text() -> None:
    # Kubeflow 2.17 drops a GPU limit without a word where the count is a number.
    for name in PIPELINES:
        parameters = lying(name).spec["root"]["inputDefinitions"]["parameters"]
        assert all(about["parameterType"] == "STRING" for one, about in parameters.items() if "gpu" in one)


def test_the_watcher_has_longer_than_its_job() -> None:
    seconds = int(lying("train_detector").kubernetes["exec-train"]["activeDeadlineSeconds"])
    assert seconds == WATCH_HOURS * 3600
    assert ClusterSettings().deadline_hours <= MOST_DEADLINE_HOURS
    assert seconds > MOST_DEADLINE_HOURS * 3600 + 600


def test_secrets_are_names() -> None:
    for name in PIPELINES:
        parameters = lying(name).spec["root"]["inputDefinitions"]["parameters"]
        assert {one: parameters[one]["defaultValue"] for one in parameters if "secret" in one} == {
            "bucket_secret": "boxcar-bucket",
            "webhook_secret": "boxcar-webhook",
        }
        assert not [one for one in parameters if re.search("token|password|key", one)]


def test_the_last_task_runs_whatever_became_of_the_others() -> None:
    for name in ("train_detector", "convert_only"):
        told = lying(name).spec["root"]["dag"]["tasks"]["notify"]
        assert told["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}


def test_registry_tag_and_digest_are_chosen_when_compiled() -> None:
    digest = "sha256:" + "1f" * 32
    images = ClusterSettings(
        image_repository="registry.example.com:5000/ml/boxcar",
        image_tag="1.2-rc1",
        image_digests={"convert": digest, "train-gpu": digest},
    )
    compiled = read(compile_pipeline("train_detector", images))
    assert {label: container["image"] for label, container in compiled.executors.items()} == {
        "exec-records": "registry.example.com:5000/ml/boxcar/records:1.2-rc1",
        "exec-train": "registry.example.com:5000/ml/boxcar/ops:1.2-rc1",
        "exec-freeze": "registry.example.com:5000/ml/boxcar/train:1.2-rc1",
        "exec-convert": f"registry.example.com:5000/ml/boxcar/convert@{digest}",
        "exec-report": f"registry.example.com:5000/ml/boxcar/convert@{digest}",
        "exec-notify": "registry.example.com:5000/ml/boxcar/ops:1.2-rc1",
    }
    tasks = dict(compiled.tasks())
    assert tasks["records"]["inputs"]["parameters"]["images"]["runtimeValue"]["constant"] == {
        "image_repository": images.image_repository,
        "image_tag": "1.2-rc1",
        "image_digests": images.image_digests,
    }


@pytest.mark.parametrize("digests", [{"tensorboard": "sha256:" + "0" * 64}, {"train": "sha256:abc"}, {"train": "latest"}])
def test_a_digest_that_is_none_is_refused(digests: dict[str, str]) -> None:
    with pytest.raises(BoxcarError, match=r"cluster\.image_digests.* cannot be") as caught:
        make_configuration(None, {"cluster": {"image_digests": digests}})
    assert caught.value.code == ExitCode.USAGE


def test_the_command_that_compiles(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipelines.compile", "--output", str(tmp_path / "made"), "--tag", "7"]
    subprocess.run(command, check=True, timeout=120)
    assert read((tmp_path / "made" / "convert_only.yaml").read_text()).executors["exec-freeze"]["image"].endswith("/train:7")


def test_what_kfp_cannot_compile_is_not_written() -> None:
    for path in (*(ROOT / "components").glob("*.py"), *(ROOT / "pipelines").glob("*.py")):
        assert "from __future__ import annotations" not in path.read_text(), path


@pytest.mark.slow
def test_an_installed_wheel_holds_the_compiled_pipelines(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    assert {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()} == {"boxcar", f"boxcar-{__version__}.dist-info"}
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, timeout=120)
    # The packages that Boxcar needs are those of this environment; its link to this checkout is not read there.
    packages = Path(sysconfig.get_path("purelib"))
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "packages.pth").write_text(f"{packages}\n")
    program = (
        "from boxcar.kfp import package; print(package.__file__); print(package.read_package('train-detector').text, end='')"
    )
    run = subprocess.run([python, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=120)
    where, _, text = run.stdout.partition("\n")
    assert Path(where).is_relative_to(site)
    assert text == (compiled_folder() / "train_detector.yaml").read_text(encoding="utf-8")


def test_nothing_in_the_repository_is_a_link() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert listed and not [line for line in listed.splitlines() if line.startswith("120000")]
