"""What can be set of a cluster, and what is refused."""

from typing import Any

import pytest

from boxcar.config.run_settings import make_configuration
from boxcar.errors import BoxcarError


def settings(**cluster: Any) -> Any:
    return make_configuration(None, {"cluster": cluster}).cluster


def test_defaults_are_there() -> None:
    found = settings()
    assert found.credentials_secret == "boxcar-bucket" and found.orphan_minutes == 10 and found.deadline_hours == 24
    assert found.gpu_tolerations[0].key == "nvidia.com/gpu"


@pytest.mark.parametrize("value", ["500m", "4", 4, 0.5, "16Gi", "1e3", "1.5Gi"])
def test_quantities(value: Any) -> None:
    assert settings(trainer_memory=value).trainer_memory == str(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trainer_memory", "16 GB"),
        ("trainer_memory", "0"),
        ("trainer_memory", "-1Gi"),
        ("trainer_cpu", True),
        ("namespace", "Team A"),
        ("namespace", "a.b"),
        ("namespace", "x" * 64),
        ("service_account", "under_score"),
        ("image_repository", "https://registry/boxcar"),
        ("image_tag", "a/b"),
        ("image_pull_policy", "Sometimes"),
        ("environment", {"1X": "a"}),
        ("gpu_node_selector", {"a b": "c"}),
        ("gpu_node_selector", {"a/b/c": "d"}),
        ("gpu_node_selector", {"pool": "a b"}),
        ("gpu_tolerations", [{"key": "a", "operator": "Is"}]),
        ("gpu_tolerations", [{"keys": "a"}]),
        ("machines", 0),
        ("deadline_hours", 0),
        ("grace_seconds", 0),
        ("orphan_minutes", float("inf")),
        ("no_such_setting", 1),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_here_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(BoxcarError) as caught:
        settings(**{name: value})
    assert caught.value.code == 64 and name in caught.value.what
