"""Schedules on a Kubeflow endpoint: what is sent, in which order, and what is refused before anything is."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api as api
import pytest
import yaml
from command import boxcar, last_words
from fake_kubeflow import Kubeflow, serving

from boxcar import retry
from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp import endpoint as endpoint_module
from boxcar.kfp.cron import check_cron
from boxcar.kfp.endpoint import Endpoint
from boxcar.kfp.package import compiled_folder, read_package
from boxcar.kfp.recurring import Scheduled, apply_schedule, list_schedules, remove_schedule
from boxcar.kfp.schedule import read_schedule

GOLDEN = Path(__file__).parents[1] / "golden"
NIGHTLY: dict[str, Any] = {
    "name": "nightly",
    "pipeline": "train-detector",
    "parameters": {"data": "s3://pictures/birds", "output": "s3://bucket/runs", "steps": 500, "gpus": "1"},
    "cron": "30 2 * * 1-5",
}


@pytest.fixture
def kubeflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kubeflow]:
    for name in (endpoint_module.ADDRESS, endpoint_module.TOKEN, endpoint_module.TOKEN_FILE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(endpoint_module, "_PROJECTED", tmp_path / "no-token")
    monkeypatch.setattr(retry, "FIRST_CONTACT_SECONDS", 0.5)
    monkeypatch.setattr(retry, "PATIENCE_SECONDS", 0.5)
    with serving() as server:
        yield server


@pytest.fixture
def apply(kubeflow: Kubeflow, tmp_path: Path) -> Any:
    def apply(changes: dict[str, Any] | None = None, **more: Any) -> str:
        said: list[str] = []
        path = write(tmp_path, NIGHTLY | (changes or {}))
        apply_schedule(read_schedule(path), Endpoint(kubeflow.address), say=said.append, **more)
        (sentence,) = said
        return sentence

    return apply


def write(folder: Path, fields: Any) -> Path:
    path = folder / "schedule.yaml"
    path.write_text(fields if isinstance(fields, str) else yaml.safe_dump(fields))
    return path


def changing(kubeflow: Kubeflow) -> list[str]:
    """What was asked of the recurring runs, but for looking at them."""
    return [
        f"{one['method']} {one['path']}"
        for one in kubeflow.sent
        if one["path"].startswith("/recurringruns") and one["method"] != "GET"
    ]


def plain(kubeflow: Kubeflow) -> list[dict[str, Any]]:
    """What was sent, with names in place of what changes with every change of a pipeline."""
    text = json.dumps(kubeflow.sent)
    for path in compiled_folder().glob("*.yaml"):
        package = read_package(str(path))
        text = text.replace(json.dumps(package.text)[1:-1], f"<{path.name}>").replace(package.version, "<version>")
    return json.loads(text)


def test_what_is_sent(kubeflow: Kubeflow, apply: Any) -> None:
    assert apply() == "nightly is new (30 2 * * 1-5 UTC)."
    changed = {"cron": "0 3 * * sun", "timeZone": "Europe/Berlin", "service_account": "runner", "experiment": "birds"}
    said = apply(changed, server_timezone="Europe/Berlin", namespace="team-a")
    assert said == "nightly was replaced (0 3 * * sun Europe/Berlin)."
    golden = GOLDEN / "schedule.json"
    assert plain(kubeflow) == json.loads(golden.read_text()), "if it is meant to be so, write the golden file anew"


@pytest.mark.filterwarnings("ignore:This client only works:FutureWarning")
def test_kfps_own_client_makes_the_same(kubeflow: Kubeflow, apply: Any) -> None:
    apply({"service_account": "runner"})
    (ours,) = [one["body"] for one in kubeflow.sent if (one["method"], one["path"]) == ("POST", "/recurringruns")]
    client = kfp.Client(host=kubeflow.address)
    client.create_recurring_run(
        "experiment-1",
        "nightly",
        description=ours["description"],
        cron_expression="0 30 2 * * 1-5",
        max_concurrency="1",  # as the model has it: the SDK passes on whatever it is given
        no_catchup=True,
        params=NIGHTLY["parameters"],
        pipeline_id="pipeline-1",
        version_id="version-1",
        service_account="runner",
    )
    theirs = kubeflow.sent[-1]["body"]
    # It cannot leave the version out, which is how the newest is followed.
    assert theirs["pipeline_version_reference"].pop("pipeline_version_id") == "version-1"
    assert theirs["runtime_config"].pop("pipeline_root", None) is None
    assert theirs == ours


def test_the_same_again_changes_nothing(kubeflow: Kubeflow, apply: Any) -> None:
    apply()
    kubeflow.sent.clear()
    assert apply({"timezone": "Etc/UTC", "cron": " 30  2 * * 1-5"}) == (
        "nightly already exists (30 2 * * 1-5 UTC) and was not changed."
    )
    assert {one["method"] for one in kubeflow.sent} == {"GET"}


@pytest.mark.parametrize(
    "changes",
    [
        {"cron": "31 2 * * 1-5"},
        {"enabled": False},
        {"parameters": NIGHTLY["parameters"] | {"steps": 501}},
        {"experiment": "birds"},
        {"service_account": "runner"},
        {
            "pipeline": "convert-only",
            "parameters": {name: f"s3://birds/{name}" for name in ("checkpoint", "records", "output")},
        },
    ],
    ids=lambda changes: ",".join(changes),
)
def test_a_changed_one_is_replaced_and_never_do_two_fire(kubeflow: Kubeflow, apply: Any, changes: dict[str, Any]) -> None:
    apply()
    (old,) = kubeflow.recurring
    kubeflow.sent.clear()
    kubeflow.firing.clear()
    assert apply(changes).startswith("nightly was replaced")
    number = old.recurring_run_id
    assert changing(kubeflow) == [
        f"POST /recurringruns/{number}:disable",
        "POST /recurringruns",
        f"DELETE /recurringruns/{number}",
    ]
    assert max(len(firing) for firing in kubeflow.firing) == 1
    (new,) = kubeflow.recurring
    assert new.mode == ("DISABLE" if "enabled" in changes else "ENABLE")
    # A training under way belongs to the old one, and is not to go with it.
    assert kubeflow.sent[-1]["query"] == {"propagation_policy": "ORPHAN"}
    assert "was not changed" in apply(changes)


def test_one_that_somebody_paused_in_the_ui_fires_again(kubeflow: Kubeflow, apply: Any) -> None:
    apply()
    kubeflow.recurring[0].mode = "DISABLE"
    assert "was replaced" in apply()
    assert [one.mode for one in kubeflow.recurring] == ["ENABLE"]


def test_where_the_new_one_is_refused_the_old_one_goes_on(kubeflow: Kubeflow, apply: Any) -> None:
    apply()
    (old,) = kubeflow.recurring
    kubeflow.fails = ("POST", "/apis/v2beta1/recurringruns", 400)
    with pytest.raises(BoxcarError, match="refused the request: not today") as caught:
        apply({"cron": "0 0 * * *"})
    assert caught.value.code == ExitCode.USAGE
    assert kubeflow.recurring == [old]
    assert old.mode == "ENABLE"


def test_where_only_the_answer_was_lost_the_new_one_fires_alone(kubeflow: Kubeflow, apply: Any) -> None:
    apply()
    kubeflow.firing.clear()
    kubeflow.loses = ("POST", "/apis/v2beta1/recurringruns")
    with pytest.raises(BoxcarError, match="502"):
        apply({"cron": "0 0 * * *"})
    assert max(len(firing) for firing in kubeflow.firing) == 1
    kubeflow.loses = None
    assert "was not changed" in apply({"cron": "0 0 * * *"})
    (left,) = kubeflow.recurring
    assert (left.mode, left.trigger.cron_schedule.cron) == ("ENABLE", "0 0 0 * * *")


@pytest.mark.parametrize("killed_before", ["POST /recurringruns", "DELETE /recurringruns/"])
def test_who_is_killed_in_between_is_mended_by_the_next(kubeflow: Kubeflow, apply: Any, killed_before: str) -> None:
    apply()
    (old,) = kubeflow.recurring
    if killed_before.startswith("DELETE"):
        kubeflow.fails = ("DELETE", f"/apis/v2beta1/recurringruns/{old.recurring_run_id}", 500)
        with pytest.raises(BoxcarError, match="not today"):
            apply({"cron": "0 0 * * *"})
        kubeflow.fails = None
        assert [one.mode for one in kubeflow.recurring] == ["DISABLE", "ENABLE"]
    else:
        old.mode = "DISABLE"
    apply({"cron": "0 0 * * *"})
    (left,) = kubeflow.recurring
    assert (left.mode, left.trigger.cron_schedule.cron) == ("ENABLE", "0 0 0 * * *")


def test_two_that_were_applied_at_once_are_replaced_by_the_next(
    kubeflow: Kubeflow, apply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = Endpoint.post

    def overtaken(self: Endpoint, path: str, body: Any) -> Any:
        if path == "/recurringruns":
            theirs = json.dumps(body).replace("0 0 0 * * *", "0 5 5 * * *").replace("at 0 0 *", "at 5 5 *")
            post(self, path, json.loads(re.sub("[0-9a-f]{64}", "0" * 64, theirs)))
        return post(self, path, body)

    with monkeypatch.context() as patched:
        patched.setattr(Endpoint, "post", overtaken)
        apply({"cron": "0 0 * * *"})
    assert len(kubeflow.recurring) == 2
    assert "was replaced" in apply({"cron": "0 1 * * *"})
    assert [one.trigger.cron_schedule.cron for one in kubeflow.recurring] == ["0 0 1 * * *"]


def test_a_recurring_run_of_somebody_else_is_left_alone(kubeflow: Kubeflow, apply: Any) -> None:
    theirs = api.V2beta1RecurringRun(recurring_run_id="recurring-9", display_name="nightly", mode="ENABLE")
    kubeflow.recurring.append(theirs)
    for work in (apply, lambda: remove_schedule("nightly", Endpoint(kubeflow.address))):
        with pytest.raises(BoxcarError, match="was not made by `boxcar schedule`") as caught:
            work()
        assert caught.value.code == ExitCode.USAGE
    assert kubeflow.recurring == [theirs]
    assert list_schedules(Endpoint(kubeflow.address)) == []
    assert not changing(kubeflow)


def test_they_are_listed_and_removed(kubeflow: Kubeflow, apply: Any) -> None:
    kubeflow.page_size = 1
    apply()
    apply({"name": "weekly", "cron": "0 4 * * 0", "enabled": False})
    server = Endpoint(kubeflow.address)
    listed = list_schedules(server)
    assert [(one.name, one.pipeline, one.cron, one.timezone, one.enabled) for one in listed] == [
        ("nightly", "train-detector", "30 2 * * 1-5", "UTC", True),
        ("weekly", "train-detector", "0 4 * * 0", "UTC", False),
    ]
    assert isinstance(listed[0], Scheduled)
    remove_schedule("nightly", server)
    assert kubeflow.sent[-1]["query"] == {"propagation_policy": "ORPHAN"}
    with pytest.raises(BoxcarError, match=r"There is no schedule nightly at .* These exist: weekly\.") as caught:
        remove_schedule("nightly", server)
    assert caught.value.code == ExitCode.USAGE


def test_many_users_need_a_namespace(kubeflow: Kubeflow, apply: Any) -> None:
    kubeflow.multi_user = True
    server = Endpoint(kubeflow.address)
    for work in (apply, lambda: list_schedules(server), lambda: remove_schedule("nightly", server)):
        with pytest.raises(BoxcarError, match="Add --namespace"):
            work()
    apply(namespace="team-a")
    remove_schedule("nightly", server, namespace="team-a")
    looked = [one["query"].get("namespace") for one in kubeflow.sent if one["path"] == "/recurringruns" and not one["body"]]
    assert looked == ["team-a"] * 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cron": "0 2 * *"}, "cron cannot be '0 2 * *': it has 4 fields and needs five: minute, hour, "),
        ({"cron": "0 0 2 * * *"}, "it has 6 fields and needs five"),
        ({"cron": "@daily"}, "it has 1 fields and needs five"),
        ({"cron": "60 2 * * *"}, "'60' is no minute: write numbers from 0 to 59"),
        ({"cron": "0 2 * * 7"}, "'7' is no day of the week: write numbers from 0 to 6"),
        ({"cron": "0 2 31 2,4 *"}, "the months 2,4 have no day 31, so it would never fire"),
        ({"cron": 5}, "cron cannot be 5: "),
        (
            {"crno": "0 2 * * *"},
            "There is no setting crno. Write cron instead of crno.",
        ),
        ({"name": "Every Night"}, "name cannot be 'Every Night': Input should be at most 52 lowercase letters, digits, and -"),
        ({"enabled": "perhaps"}, "enabled cannot be 'perhaps'"),
        ({"timezone": "Europe/Berlin"}, "The time zone of nightly is Europe/Berlin, but the server's is UTC."),
        ({"pipeline": "bake-bread"}, "bake-bread cannot be submitted: No such file"),
        ({"parameters": {"data": "s3://b/d"}}, "The parameter output is missing. Folder for runs."),
        ({"parameters": NIGHTLY["parameters"] | {"epochs": 3}}, "no parameter epochs. These parameters exist: "),
        ({"parameters": NIGHTLY["parameters"] | {"steps": "many"}}, "steps of train-detector cannot be 'many'. Write a whole"),
        (
            {"parameters": NIGHTLY["parameters"] | {"steps": True}},
            "steps of train-detector cannot be True. Write a",
        ),
        (
            {"parameters": NIGHTLY["parameters"] | {"gpus": 2}},
            'cannot be 2. Write a text, in quotes: "2".',
        ),
        ({"parameters": NIGHTLY["parameters"] | {"image_size": 100}}, "image_size: "),
        ({"parameters": ["data"]}, "parameters cannot be ['data']: "),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(
    kubeflow: Kubeflow, apply: Any, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(BoxcarError) as caught:
        apply(changes)
    assert words in str(caught.value)
    assert caught.value.code == ExitCode.USAGE
    assert kubeflow.sent == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "name is missing"),
        ("- 1", "is not a mapping"),
        ("1: 2", "is not a mapping"),
        ("\t", "cannot be read"),
        ("cron: * 2 * * *", "needs the quotes."),
        ("pipeline: train-detector", "name is missing"),
    ],
)
def test_a_file_that_is_no_schedule(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(BoxcarError) as caught:
        read_schedule(write(tmp_path, content))
    assert words in str(caught.value)
    with pytest.raises(BoxcarError, match=r"none\.yaml cannot be read: No such file"):
        read_schedule(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "cron", ["* * * * *", "*/15 0-6,20-23 ? * *", "0 2 29 feb *", "5/20 0 31 1,2 *", "0 0 31 2 mon", "0 0 1 JAN-MAR/2 Sun,SAT"]
)
def test_crons_that_are_good(cron: str) -> None:
    assert check_cron(cron) == cron


@pytest.mark.parametrize(
    "cron", ["a * * * *", "1- * * * *", "3-1 * * * *", "*/0 * * * *", "*/ * * * *", ", * * * *", "0 0 0 * *"]
)
def test_crons_that_are_none(cron: str) -> None:
    with pytest.raises(ValueError, match=" is no "):
        check_cron(cron)


def test_the_command(kubeflow: Kubeflow, tmp_path: Path) -> None:
    path = str(write(tmp_path, NIGHTLY))
    where = ("--endpoint", kubeflow.address)
    assert boxcar("schedule", "list", *where).stdout == f"There are no schedules at {kubeflow.address}.\n"
    assert boxcar("schedule", "apply", path, *where).stdout == "nightly is new (30 2 * * 1-5 UTC).\n"
    assert boxcar("schedule", "list", *where).stdout == "nightly: train-detector at 30 2 * * 1-5 UTC\n"
    line = last_words(boxcar("schedule", "apply", path, *where, "--server-timezone", "Asia/Tokyo"), 64)
    assert "server's is Asia/Tokyo" in line
    assert boxcar("schedule", "remove", "nightly", *where).stdout == "Removed the schedule nightly.\n"
    assert kubeflow.recurring == []
    last_words(boxcar("schedule", "remove", "nightly", *where), 64)
    assert "apply" in boxcar("schedule").stderr
