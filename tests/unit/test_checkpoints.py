"""The files through which trainer and evaluator communicate: markers, scores, the status."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from boxcar.run.checkpoints import (
    Status,
    append_score,
    best_score,
    has_stalled,
    list_checkpoints,
    mark_checkpoint,
    marker_path,
    read_scores,
    read_status,
    remove_checkpoint,
    write_status,
)


def write(train: Path, step: int, mark: bool = True) -> None:
    (train / f"ckpt-{step}.index").write_bytes(b"index of %d" % step)
    (train / f"ckpt-{step}.data-00000-of-00001").write_bytes(b"data of %d" % step)
    if mark:
        mark_checkpoint(train, step, "version")


def steps(train: Path) -> list[int]:
    return [checkpoint.step for checkpoint in list_checkpoints(train)]


def test_a_checkpoint_exists_with_its_marker_and_whole_files(tmp_path: Path) -> None:
    for step in (100, 20, 3):
        write(tmp_path, step)
    write(tmp_path, 200, mark=False)
    found = list_checkpoints(tmp_path)
    assert [checkpoint.step for checkpoint in found] == [3, 20, 100]
    assert found[0].prefix == tmp_path / "ckpt-3"
    assert found[0].dataset_version == "version"
    assert sorted(json.loads(marker_path(tmp_path, 3).read_text())["files"]) == ["ckpt-3.data-00000-of-00001", "ckpt-3.index"]
    (tmp_path / "ckpt-20.data-00000-of-00001").write_bytes(b"short")
    (tmp_path / "ckpt-3.index").unlink()
    assert steps(tmp_path) == [100]


def test_a_marker_lists_its_own_steps_files_only(tmp_path: Path) -> None:
    write(tmp_path, 10)
    write(tmp_path, 1)
    write(tmp_path, 1)  # once more, over its own marker
    assert set(json.loads(marker_path(tmp_path, 1).read_text())["files"]) == {"ckpt-1.index", "ckpt-1.data-00000-of-00001"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ckpt-7.json", b""),
        ("ckpt-7.json", b'{"step": 7, "fi'),
        ("ckpt-7.json", b"\xff"),
        ("ckpt-7.json", b"[]"),
        ("ckpt-7.json", b'{"files": {"ckpt-1.index": 3}, "dataset_version": "v"}'),
        ("ckpt-x.json", b"{}"),
        ("ckpt-7.jsonl.json", b"{}"),
    ],
)
def test_what_is_no_marker_is_no_checkpoint(tmp_path: Path, name: str, content: bytes) -> None:
    write(tmp_path, 1)
    write(tmp_path, 7, mark=False)
    (tmp_path / name).write_bytes(content)
    assert steps(tmp_path) == [1]


def test_removed_with_its_marker_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 10):
        write(tmp_path, step)
    order: list[str] = []
    unlink = Path.unlink

    def watched(self: Path, missing_ok: bool = False) -> None:
        order.append(self.name)
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", watched)
    remove_checkpoint(tmp_path, 1)
    assert order[0] == "ckpt-1.json"
    assert steps(tmp_path) == [10]
    assert not list(tmp_path.glob("ckpt-1.*"))
    remove_checkpoint(tmp_path, 1)


def test_listing_while_checkpoints_come_and_go(tmp_path: Path) -> None:
    write(tmp_path, 1)
    done = threading.Event()

    def churn() -> None:
        for step in range(2, 30):
            write(tmp_path, step)
            remove_checkpoint(tmp_path, step)
        done.set()

    churning = threading.Thread(target=churn)
    churning.start()
    while not done.is_set():
        assert steps(tmp_path)[0] == 1
    churning.join()
    assert steps(tmp_path) == [1]


def test_half_a_line_of_an_earlier_kill_is_cut_off(tmp_path: Path) -> None:
    ledger = tmp_path / "scores.jsonl"
    first, second = {"step": 1, "AP": 0.5, "per_class": {"Bär": 1}}, {"step": 2, "AP": None, "per_class": {}}
    append_score(tmp_path, first)
    whole = ledger.read_bytes()
    line = json.dumps(first, ensure_ascii=False).encode()
    letter = line.index("ä".encode())
    for cut in (1, letter, letter + 1, letter + 2, len(line)):  # in the middle of the letter's two bytes too
        ledger.write_bytes(whole + line[:cut])
        assert read_scores(tmp_path) == [first]
        append_score(tmp_path, second)
        assert read_scores(tmp_path) == [first, second]
        assert len(ledger.read_bytes().splitlines()) == 2
    ledger.write_bytes(line[:5])
    append_score(tmp_path, second)
    assert read_scores(tmp_path) == [second]


def test_class_names_with_line_separators_do_not_break_the_ledger(tmp_path: Path) -> None:
    score = {"step": 1, "AP": 0.5, "per_class": {"a\u2028b\x85c\x1cd": {"AP": 0.1}}}
    append_score(tmp_path, score)
    append_score(tmp_path, score)
    assert read_scores(tmp_path) == [score, score]


def test_a_score_that_is_no_number_is_refused_and_leaves_the_ledger_whole(tmp_path: Path) -> None:
    append_score(tmp_path, {"step": 1, "AP": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        append_score(tmp_path, {"step": 2, "AP": float("nan")})
    assert read_scores(tmp_path) == [{"step": 1, "AP": 0.5}]


def test_no_ledger_no_scores(tmp_path: Path) -> None:
    assert read_scores(tmp_path) == []
    assert best_score([]) is None


@pytest.mark.parametrize(
    ("aps", "best"),
    [
        ([0.1, 0.4, 0.3], 2),
        ([0.4, 0.4, 0.3], 2),  # the later of equals
        ([None, 0.1, None], 2),
        ([None, None], 2),
        ([0.0, None], 2),
        ([None], 1),
    ],
)
def test_the_best_score(aps: list[float | None], best: int) -> None:
    scores: list[dict[str, Any]] = [{"step": step, "AP": ap} for step, ap in enumerate(aps, 1)]
    for order in (scores, scores[::-1]):
        chosen = best_score(order)
        assert chosen is not None
        assert chosen["step"] == best


@pytest.mark.parametrize(
    ("aps", "patience", "stalled"),
    [
        ({25: 0.1, 50: 0.3, 75: 0.3, 100: 0.2}, 2, True),
        ({25: 0.1, 50: 0.3, 75: 0.3, 100: 0.2}, 3, False),
        ({25: 0.1, 50: None, 75: 0.2}, 1, False),
        # Below the start, and rising again.
        ({0: 0.6, 25: 0.3, 50: 0.4, 75: 0.5}, 2, False),
        ({0: 0.6, 25: 0.5, 50: 0.4, 75: 0.4}, 2, True),
        ({0: 0.6}, 1, False),
        ({}, 1, False),
    ],
)
def test_training_has_stalled(aps: dict[int, float | None], patience: int, stalled: bool) -> None:
    scores = [{"step": step, "AP": ap} for step, ap in aps.items()]
    assert has_stalled(scores, patience) is stalled
    assert has_stalled(scores[::-1], patience) is stalled


def test_status_comes_back_and_beats(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    before = time.time()
    write_status(tmp_path, "RUNNING", 30)
    first = read_status(tmp_path)
    assert first is not None
    assert before <= first.beat <= time.time()
    assert first == Status("RUNNING", 30, first.beat, None, first.memory_bytes)
    assert (first.memory_bytes or 0) > 10_000_000, "Python alone needs more"
    time.sleep(0.01)
    write_status(tmp_path, "RUNNING", 30)
    assert read_status(tmp_path) != first
    write_status(tmp_path, "DONE", 40, 40)
    last = read_status(tmp_path)
    assert last is not None
    assert (last.state, last.step, last.last_checkpoint) == ("DONE", 40, 40)
