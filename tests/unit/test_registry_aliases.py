"""Changes of the champion. If two processes change it at the same time, one of them is refused."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from registered import write_run
from storage_servers import GCS, Server, UnconditionalGcs, serving

from boxcar.errors import BoxcarError
from boxcar.registry import Model, add_version, read_aliases, resolve
from boxcar.registry.aliases import Aliases, begin, change, step_back
from boxcar.storage import Changed, open_store

# For each version on stdin, promotes it in the state that was read, and prints whether it was first.
RACER = """
import sys
from boxcar.registry.aliases import _content, _read
from boxcar.registry.model import Model
from boxcar.storage import Changed

model = Model(sys.argv[1], "pets")
for line in sys.stdin:
    state, tag = _read(model)
    print("read", flush=True)
    sys.stdin.readline()  # the other process has read it too
    try:
        model.store.write("aliases.json", _content(state.promoted(line.strip(), sys.argv[2])), expected=tag)
        print("won", flush=True)
    except Changed:
        print("lost", flush=True)
"""


@pytest.fixture(params=["folder", "minio", GCS])
def model(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model without a champion."""
    monkeypatch.setenv("BOXCAR_CACHE", str(tmp_path / "cache"))
    if request.param == "folder":
        model = Model(str(tmp_path / "models"), "pets")
    else:
        server: Server = request.getfixturevalue(request.param)
        for name, value in server.environment(server.address).items():
            monkeypatch.setenv(name, value)
        model = Model(f"{server.scheme}://{server.make_bucket()}/models", "pets")
    begin(model, "split")
    return model


def test_promotions_and_rollbacks(model: Model) -> None:
    assert read_aliases(model).aliases == {}
    for number in ("1", "2", "3"):
        change(model, lambda state, number=number: state.promoted(number, f"why {number}"))
    assert read_aliases(model).aliases == {"champion": "3", "previous": "2"}
    assert (resolve(model, "champion"), resolve(model, "previous"), resolve(model, "17")) == ("3", "2", "17")
    assert step_back(model).aliases == {"champion": "2", "previous": "1"}
    change(model, lambda state: state.promoted("4", ""))
    assert step_back(model).champion == "2" and step_back(model).champion == "1"
    with pytest.raises(BoxcarError, match="no champion before 1") as error:
        step_back(model)
    assert error.value.code == 64
    changes = [(line.action, line.champion) for line in read_aliases(model).history]
    assert changes[1:5] == [("promote", "1"), ("promote", "2"), ("promote", "3"), ("rollback", "2")]
    assert read_aliases(model).history[3].reason == "why 3"


def test_the_champion_can_be_read_without_boxcar(model: Model) -> None:
    change(model, lambda state: state.promoted("1", ""))
    assert json.loads(open_store(model.uri).read("aliases.json"))["aliases"]["champion"] == "1"


def test_an_unknown_alias_is_refused(model: Model) -> None:
    change(model, lambda state: state.promoted("1", ""))
    with pytest.raises(BoxcarError, match=r"pets has no alias stable; it has: champion \(1\)") as error:
        resolve(model, "stable")
    assert error.value.code == 64


def test_one_of_two_concurrent_promotions_wins(model: Model) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, model.models, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for name in ("one", "two")
    ]
    pipes = [(racer.stdin, racer.stdout) for racer in racers]
    winners = []
    try:
        for number in range(1, 21):
            for said in (f"{number}\n", "go\n"):
                for stdin, _ in pipes:
                    assert stdin is not None
                    stdin.write(said)
                answers = [stdout.readline().strip() for _, stdout in pipes if stdout is not None]
            assert sorted(answers) == ["lost", "won"]
            winners.append(("one", "two")[answers.index("won")])
    finally:
        for racer in racers:
            racer.communicate()
    state = read_aliases(model)
    assert state.champions == tuple(str(number) for number in range(1, 21))
    assert [line.reason for line in state.history[1:]] == winners


def test_the_order_of_changes_does_not_depend_on_clocks(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by(hours: int) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
                return datetime.now(UTC) + timedelta(hours=hours)

        monkeypatch.setattr("boxcar.registry.aliases.datetime", Clock)

    for number, hours in (("1", 1), ("2", -1), ("3", 0)):
        off_by(hours)
        change(model, lambda state, number=number: state.promoted(number, ""))
    state = read_aliases(model)
    assert state.champions == ("1", "2", "3")
    times = [line.at for line in state.history[1:]]
    assert times != sorted(times)  # the order is the file's own
    assert step_back(model).champion == "2"


def test_a_state_that_is_not_valid_is_not_overwritten(model: Model) -> None:
    open_store(model.uri).write("aliases.json", b"{")
    with pytest.raises(BoxcarError, match=r"aliases.json is not valid") as error:
        change(model, lambda state: state.promoted("1", ""))
    assert error.value.code == 65
    assert open_store(model.uri).read("aliases.json") == b"{"


def test_a_change_is_refused_if_the_state_has_changed_meanwhile(model: Model) -> None:
    def overtaken(state: Aliases) -> Aliases:
        change(model, lambda state: state.promoted("2", ""))
        return state.promoted("1", "")

    with pytest.raises(Changed, match=r"aliases\.json was changed") as error:
        change(model, overtaken)
    assert error.value.code == 69 and "again" in error.value.do
    assert read_aliases(model).champions == ("2",)


def test_an_error_in_a_change_changes_nothing(model: Model) -> None:
    before = open_store(model.uri).read("aliases.json")

    def refuse(state: object) -> None:
        raise Changed("the champion")

    with pytest.raises(Changed):
        change(model, refuse)  # type: ignore[arg-type]
    assert open_store(model.uri).read("aliases.json") == before


def test_a_bucket_without_conditions_is_refused_before_anything_is_promoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOXCAR_CACHE", str(tmp_path / "cache"))
    with serving(UnconditionalGcs(tmp_path / "gcs")) as server:
        for name, value in server.environment(server.address).items():
            monkeypatch.setenv(name, value)
        model = Model(f"gs://{server.make_bucket()}/models", "pets")
        with pytest.raises(BoxcarError, match="does not enforce conditional writes") as error:
            add_version(model, str(write_run(tmp_path / "run")))
        assert error.value.code == 69
        assert "aliases.json" not in {entry.name for entry in open_store(model.uri).entries()}
