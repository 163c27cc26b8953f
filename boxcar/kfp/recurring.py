"""Schedules on a Kubeflow endpoint: each is a recurring run that follows the newest version of its pipeline."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.endpoint import Answer, Endpoint
from boxcar.kfp.package import check_values, read_package
from boxcar.kfp.schedule import Schedule
from boxcar.kfp.submit import find_experiment, require_namespace, upload_version

_PATH = "/recurringruns"
_KIND = "recurringRuns"  # the API's own spelling
# The only field of a recurring run that is free to use is its description. `_read` parses what `_describe` writes.
_DESCRIPTION = re.compile(
    r"Boxcar runs (?P<pipeline>.+) at (?P<cron>.+) (?P<timezone>\S+); made from (?P<digest>[0-9a-f]{64})\."
)


@dataclass(frozen=True)
class Scheduled:
    """A schedule on the server.

    Attributes:
        id: of the recurring run.
        cron: five fields, in `timezone`.
        enabled: whether it fires.
        digest: SHA-256 of the request that created it, without the description.
    """

    id: str
    name: str
    pipeline: str
    cron: str
    timezone: str
    enabled: bool
    digest: str


def apply_schedule(
    schedule: Schedule,
    endpoint: Endpoint,
    *,
    server_timezone: str = "UTC",
    namespace: str | None = None,
    say: Callable[[str], None],
) -> None:
    """Makes the server hold this schedule and no other of its name. An equal one that is there already is kept.

    Kubeflow cannot change a recurring run, so a changed one is replaced: the old one is disabled, the new one is made, the old
    one is deleted. Two never fire. If the new one is refused, the old one is enabled again. An interruption leaves a
    disabled schedule, which the next call repairs. Active runs of the old one continue. A schedule has one owner: two calls
    at the same time can leave two schedules of that name, which the next call replaces.

    Args:
        schedule: the one to apply.
        endpoint: of the server.
        server_timezone: in which the server reads cron.
        namespace: of the runs, on a multi-user server.
        say: receives one sentence about what was done.

    Raises:
        BoxcarError: 64 for invalid parameters, or a recurring run of that name that is not ours; 69 if the server does not
            answer, denies access, or is too old.
    """
    schedule.check_timezone(server_timezone)
    package = read_package(schedule.pipeline)
    check_values(package, schedule.parameters)
    require_namespace(endpoint, namespace)
    old = _find(endpoint, namespace, schedule.name)
    reference = upload_version(package, endpoint, namespace)
    wanted: dict[str, Any] = {
        "display_name": schedule.name,
        "experiment_id": find_experiment(schedule.experiment, endpoint, namespace),
        # Without a version: the newest at the time.
        "pipeline_version_reference": {"pipeline_id": reference["pipeline_id"]},
        "runtime_config": {"parameters": schedule.parameters},
        "trigger": {"cron_schedule": {"cron": f"0 {schedule.cron}"}},  # the server wants the second, too
        "mode": "ENABLE" if schedule.enabled else "DISABLE",
        "max_concurrency": "1",
        "no_catchup": True,
        **({"service_account": schedule.service_account} if schedule.service_account else {}),
    }
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    when = f"{schedule.cron} {schedule.timezone}" if schedule.enabled else "paused"
    kept = [one for one in old if (one.digest, one.enabled) == (digest, schedule.enabled)][:1]
    if kept:
        said = f"{schedule.name} already exists ({when}) and was not changed."
    else:
        firing = [one for one in old if one.enabled]
        try:
            for one in firing:
                endpoint.post(f"{_PATH}/{one.id}:disable", {})
            endpoint.post(_PATH, wanted | {"description": _describe(package.name, schedule, digest)})
        except BaseException:
            # Unless the new one was made, and only the answer was lost.
            if all(one.digest != digest for one in _find(endpoint, namespace, schedule.name)):
                for one in firing:
                    endpoint.post(f"{_PATH}/{one.id}:enable", {})
            raise
        said = f"{schedule.name} {'was replaced' if old else 'is new'} ({when})."
    for one in old:
        if one not in kept:
            _delete(one.id, endpoint)
    say(said)


def list_schedules(endpoint: Endpoint, *, namespace: str | None = None) -> list[Scheduled]:
    """Our schedules on the server, by name.

    Raises:
        BoxcarError: 64 if a namespace is needed; 69 if the server does not answer, denies access, or is too old.
    """
    require_namespace(endpoint, namespace)
    read = [_read(one) for one in endpoint.all(_PATH, _KIND, namespace=namespace)]
    return sorted((one for one in read if one is not None), key=lambda one: (one.name, one.id))


def remove_schedule(name: str, endpoint: Endpoint, *, namespace: str | None = None) -> None:
    """Removes a schedule; its active runs continue.

    Raises:
        BoxcarError: 64 if there is none of that name, or it is not ours; 69 if the server does not answer, denies access, or
            is too old.
    """
    require_namespace(endpoint, namespace)
    found = _find(endpoint, namespace, name)
    if not found:
        names = ", ".join(sorted({one.name for one in list_schedules(endpoint, namespace=namespace)}))
        do = f"These exist: {names}." if names else "There are none."
        raise BoxcarError(ExitCode.USAGE, f"There is no schedule {name} at {endpoint.address}.", do)
    for one in found:
        _delete(one.id, endpoint)


def _find(endpoint: Endpoint, namespace: str | None, name: str) -> list[Scheduled]:
    """The schedules of one name. There are two if a replacement was interrupted."""
    found: list[Scheduled] = []
    for answer in endpoint.all(_PATH, _KIND, name=name, namespace=namespace):
        ours = _read(answer)
        if ours is None:
            what = f"The recurring run {name} at {endpoint.address} was not made by `boxcar schedule`."
            raise BoxcarError(ExitCode.USAGE, what, "Choose another name, or delete that one in the UI of Kubeflow first.")
        found.append(ours)
    return found


def _describe(pipeline: str, schedule: Schedule, digest: str) -> str:
    return f"Boxcar runs {pipeline} at {schedule.cron} {schedule.timezone}; made from {digest}."


def _read(answer: Answer) -> Scheduled | None:
    """A recurring run; None if it is not ours."""
    made = _DESCRIPTION.fullmatch(str(answer.get("description") or ""))
    if made is None:
        return None
    enabled = answer.get("mode") == "ENABLE"
    return Scheduled(answer["recurring_run_id"], answer["display_name"], enabled=enabled, **made.groupdict())


def _delete(recurring_run: str, endpoint: Endpoint) -> None:
    # A run belongs to the recurring run that started it. Without this, an active training would be deleted, too.
    endpoint.delete(f"{_PATH}/{recurring_run}", propagation_policy="ORPHAN")
