"""Schedules on a Kubeflow endpoint: each is a recurring run there, which follows its pipeline's newest version."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from boxcar.errors import BoxcarError, ExitCode
from boxcar.kfp.cron import server_cron
from boxcar.kfp.endpoint import Answer, Endpoint, Refused
from boxcar.kfp.package import check_values, read_package
from boxcar.kfp.schedule import Schedule
from boxcar.kfp.submit import find_experiment, require_namespace, upload_version

_PATH = "/recurringruns"
_KIND = "recurringRuns"  # the API's own spelling
# What a person reads in the UI, and by what we know again what we made, and from what.
_OURS = re.compile(r"Boxcar runs (?P<pipeline>.+) at (?P<cron>.+) (?P<timezone>\S+); made from [0-9a-f]{64}\.")


@dataclass(frozen=True)
class Scheduled:
    """A schedule as it stands on the server.

    Attributes:
        id: of the recurring run.
        name: the schedule's.
        pipeline: name of its pipeline.
        cron: five fields.
        timezone: that it was made for.
        enabled: whether it fires.
        description: says what it was made from.
        made: when, by the server's clock: RFC 3339.
    """

    id: str
    name: str
    pipeline: str
    cron: str
    timezone: str
    enabled: bool
    description: str
    made: str


def apply_schedule(
    schedule: Schedule,
    endpoint: Endpoint,
    *,
    server_timezone: str = "UTC",
    namespace: str | None = None,
    say: Callable[[str], None],
) -> None:
    """Makes the server hold this schedule and no other of its name; one that is there already is left alone.

    Kubeflow cannot change a recurring run, so a changed one is replaced: the old one pauses, the new one is made, the old one
    goes. So there is always one of that name, and never do two fire. Where the new one is refused the old one goes on; whoever
    is killed in between leaves a schedule that pauses, which the next call mends. Runs of the old one that are under way go on.
    Of two that are made at once the newer one stays, whoever looks.

    Args:
        schedule: what is wanted.
        endpoint: where.
        server_timezone: that the server's clock is read in.
        namespace: the runs', where many users share the server.
        say: is told what was done.

    Raises:
        BoxcarError: 64 for what cannot work, or a recurring run of that name that is not ours; 69 where the server does not
            answer, lets nobody in, or is too old, or somebody else made another schedule of that name at the same time.
    """
    schedule.check_timezone(server_timezone)
    package = read_package(schedule.pipeline)
    check_values(package, schedule.parameters)
    require_namespace(endpoint, namespace)
    standing = _find(endpoint, namespace, schedule.name)
    reference = upload_version(package, endpoint, namespace)
    wanted: dict[str, Any] = {
        "display_name": schedule.name,
        "experiment_id": find_experiment(schedule.experiment, endpoint, namespace),
        # Without a version: the newest at the time.
        "pipeline_version_reference": {"pipeline_id": reference["pipeline_id"]},
        "runtime_config": {"parameters": schedule.parameters},
        "trigger": {"cron_schedule": {"cron": server_cron(schedule.cron)}},
        "mode": "ENABLE" if schedule.enabled else "DISABLE",
        "max_concurrency": "1",
        "no_catchup": True,
        **({"service_account": schedule.service_account} if schedule.service_account else {}),
    }
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    description = f"Boxcar runs {package.name} at {schedule.cron} {schedule.timezone}; made from {digest}."

    def is_ours(one: Scheduled) -> bool:
        return (one.description, one.enabled) == (description, schedule.enabled)

    same = [one for one in standing if is_ours(one)][:1]
    when = f"{schedule.cron} {schedule.timezone}" if schedule.enabled else "pauses"
    if same:
        said = f"{schedule.name} is there already ({when}); it was left alone."
    else:
        with _pausing(standing, endpoint, lambda: _is_there(description, _find(endpoint, namespace, schedule.name))):
            endpoint.post(_PATH, wanted | {"description": description})
        said = f"{schedule.name} {'was replaced' if standing else 'is new'} ({when})."
        # Somebody else may have made one meanwhile. Where each sees both, both leave the newer; where theirs took the place of
        # ours, ours pauses or is gone.
        old = {one.id for one in standing}
        standing = _find(endpoint, namespace, schedule.name)
        same = [one for one in standing if one.id not in old]
        if any(map(is_ours, same)):
            same = [max(same, key=lambda one: (one.made, one.id))]
    for one in standing:
        if one not in same:
            _delete(one, endpoint)
    if not any(map(is_ours, same)):
        what = f"Somebody else changed {schedule.name} at {endpoint.address} at the same time, and theirs stands."
        raise BoxcarError(ExitCode.ENVIRONMENT, what, "Apply yours again if it is the one that is meant.")
    say(said)


def list_schedules(endpoint: Endpoint, *, namespace: str | None = None) -> list[Scheduled]:
    """The schedules of ours on the server, by name.

    Raises:
        BoxcarError: 64 where a namespace is needed; 69 where the server does not answer, lets nobody in, or is too old.
    """
    require_namespace(endpoint, namespace)
    read = [_read(one) for one in endpoint.all(_PATH, _KIND, namespace=namespace)]
    return sorted((one for one in read if one is not None), key=lambda one: (one.name, one.id))


def remove_schedule(name: str, endpoint: Endpoint, *, namespace: str | None = None) -> None:
    """Removes a schedule; runs of it that are under way go on.

    Raises:
        BoxcarError: 64 where there is none of that name, or it is not ours; 69 where the server does not answer, lets nobody
            in, or is too old.
    """
    require_namespace(endpoint, namespace)
    standing = _find(endpoint, namespace, name)
    if not standing:
        names = ", ".join(sorted({one.name for one in list_schedules(endpoint, namespace=namespace)}))
        do = f"These are there: {names}." if names else "There are none at all."
        raise BoxcarError(ExitCode.USAGE, f"There is no schedule {name} at {endpoint.address}.", do)
    for one in standing:
        _delete(one, endpoint)


def _find(endpoint: Endpoint, namespace: str | None, name: str) -> list[Scheduled]:
    """Those of a name: two, where somebody was killed who replaced one."""
    found: list[Scheduled] = []
    for answer in endpoint.all(_PATH, _KIND, name=name, namespace=namespace):
        ours = _read(answer)
        if ours is None:
            what = f"The recurring run {name} at {endpoint.address} was not made by `boxcar schedule`."
            raise BoxcarError(ExitCode.USAGE, what, "Choose another name, or remove that one in the UI of Kubeflow first.")
        found.append(ours)
    return found


def _read(answer: Answer) -> Scheduled | None:
    """A recurring run; None where it is not ours."""
    description = str(answer.get("description") or "")
    made = _OURS.fullmatch(description)
    if made is None:
        return None
    enabled = answer.get("mode") == "ENABLE"
    return Scheduled(
        answer["recurring_run_id"],
        answer["display_name"],
        made["pipeline"],
        made["cron"],
        made["timezone"],
        enabled,
        description,
        str(answer.get("created_at")),
    )


@contextmanager
def _pausing(standing: list[Scheduled], endpoint: Endpoint, replaced: Callable[[], bool]) -> Iterator[None]:
    """Those that fire pause; where what is done meanwhile fails, they fire again.

    Unless they were replaced all the same, and only the answer was lost: then two would fire.
    """
    firing = [one for one in standing if one.enabled]
    try:
        for one in firing:
            _switch(one, "disable", endpoint)
        yield
    except BaseException:
        if firing and not replaced():
            for one in firing:
                _switch(one, "enable", endpoint)
        raise


def _switch(one: Scheduled, verb: str, endpoint: Endpoint) -> None:
    try:
        endpoint.post(f"{_PATH}/{one.id}:{verb}", {})
    except Refused as error:
        if error.status != 404:  # somebody else replaced it meanwhile
            raise


def _is_there(description: str, standing: list[Scheduled]) -> bool:
    return any(one.description == description for one in standing)


def _delete(one: Scheduled, endpoint: Endpoint) -> None:
    # A run belongs to the recurring run that started it: without this, a training under way would be collected with it.
    endpoint.delete(f"{_PATH}/{one.id}", propagation_policy="ORPHAN")
