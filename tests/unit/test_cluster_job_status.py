"""What is said of Jobs that wait or have ended: recorded from a real cluster, with what nobody reads left out."""

import copy
import json
from pathlib import Path
from typing import Any

from boxcar.cluster.job_status import disruption, explain_exit, explain_failure, is_finished, is_terminating
from boxcar.cluster.pending import find_pending
from boxcar.errors import BoxcarError

RECORDED = Path(__file__).parent / "recorded_jobs"


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return found


def waiting(name: str) -> Any:
    seen = recorded(name)
    return find_pending(seen["job"], seen["pods"], seen["events"])


def end(seen: dict[str, Any], **others: Any) -> BoxcarError:
    assert is_finished(seen["job"]) and is_terminating(seen["job"])
    error = explain_failure(seen["job"], seen["pods"], lambda name: f"the last use of the {name} was 1 GiB", **others)
    assert error is not None
    return error


def test_no_node_with_such_gpus() -> None:
    found = waiting("no_node")
    assert found.cause == "node"
    assert found.what.endswith(" UTC: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
    assert found.since[11:19] in found.what


def test_an_image_that_cannot_be_pulled_is_named_with_the_cause() -> None:
    found = waiting("no_image")
    assert found.cause == "image" and not found.hopeless
    assert "The container image docker.io/boxcar/train:no-such of fetch could not be pulled (waiting since" in found.what
    assert "lookup registry-1.docker.io" in found.what and "image_tag" in found.do


def test_an_image_that_must_not_be_pulled_is_not_waited_for() -> None:
    found = waiting("never_pulled")
    assert found.cause == "image" and found.hopeless and "pull policy of Never" in found.what


def test_a_service_account_that_is_not_there() -> None:
    found = waiting("no_account")
    assert found.cause == "creation" and 'serviceaccount "nope" not found' in found.what
    assert "cluster.service_account" in found.do


def test_what_could_be_created_later_is_not_waited_for_any_more() -> None:
    seen = recorded("no_account")
    created = copy.deepcopy(seen["events"][0]) | {"reason": "SuccessfulCreate", "lastTimestamp": "2999-01-01T00:00:00Z"}
    assert find_pending(seen["job"], [], [*seen["events"], created]) is None


def test_a_suspended_job_waits_for_its_queue() -> None:
    seen = recorded("no_node")
    seen["job"]["spec"]["suspend"] = True
    seen["job"]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "team"
    found = find_pending(seen["job"], [], [])
    assert found is not None and found.cause == "queue" and "queue team" in found.what


def test_a_deadline_that_passed_while_waiting_says_for_what() -> None:
    error = end(recorded("deadline"), pending=waiting("no_node"))
    assert error.code == 76 and "its deadline of 0.0125 hours before it could work" in error.what
    assert "2 Insufficient nvidia.com/gpu" in error.what
    error = end(recorded("deadline"))
    assert error.code == 76 and "cluster.deadline_hours" in error.do


def test_an_orphan_ends_with_its_own_words_and_code() -> None:
    error = end(recorded("orphan"))
    assert error.code == 76
    assert "0.5 minutes" in error.what and "Lease boxcar-train-dc72697133" in error.what
    assert "--resume" in error.do and "last checkpoint" in error.do
    assert [disruption(pod) for pod in recorded("orphan")["pods"]] == [None]


def test_a_quota_that_is_used_up() -> None:
    found = waiting("quota")
    assert found.cause == "creation" and "exceeded quota: small, requested: limits.memory=" in found.what
    assert "quota" in found.do


def test_a_job_that_was_tried_again_ends_as_its_last_pod_did() -> None:
    error = end(recorded("tried_four_times"))
    assert error.code == 69 and "s3://boxcar-647669c8/runs/8c4782d8/export/saved_model" in error.what
    assert error.details == ("The Job boxcar-convert-aa917f71e6 was tried 4 times. This is how the last attempt ended:",)


def test_a_drained_pod_is_interrupted_and_does_not_end_its_job() -> None:
    seen = recorded("drained")
    assert [disruption(pod) for pod in seen["pods"]] == ["its node was drained"]
    assert not is_finished(seen["job"]) and not is_terminating(seen["job"])
    assert explain_failure(seen["job"], seen["pods"], str) is None


def test_a_trainer_that_ran_out_of_memory_four_times() -> None:
    error = end(recorded("out_of_memory"))
    assert error.code == 69
    assert error.what == "The trainer ran out of memory: its limit is 400Mi, and the last use of the trainer was 1 GiB."
    assert error.do == "Raise cluster.trainer_memory. Then run the same command again."
    assert "was tried 4 times" in error.details[0]


def test_an_evaluator_that_runs_out_of_memory_again_and_again() -> None:
    (pod,) = recorded("evaluator_out_of_memory")["pods"]
    status = next(one for one in pod["status"]["initContainerStatuses"] if one["name"] == "evaluator")
    ended = status.get("lastState", {}).get("terminated") or status["state"]["terminated"]
    error = explain_exit(pod, status, ended, lambda name: "it had not reported its memory use")
    assert error.code == 69
    assert error.what == "The evaluator ran out of memory: its limit is 300Mi, and it had not reported its memory use."
    assert "cluster.evaluator_memory" in error.do
