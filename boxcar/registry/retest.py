"""A new frozen test split for a model: from then on it is what versions are compared on."""

from dataclasses import dataclass
from typing import Any

from boxcar.config.gate_settings import GateSettings
from boxcar.registry.aliases import Aliases, change, read_aliases
from boxcar.registry.decision import Answers, decide
from boxcar.registry.gate import refuse_seen
from boxcar.registry.held_out import HeldOutTest, fetch_records, keep_test
from boxcar.registry.measure import find_file, measure
from boxcar.registry.model import Model
from boxcar.registry.versions import fetch_version
from boxcar.run.progress import Progress
from boxcar.storage import Changed


@dataclass(frozen=True)
class Retested:
    """A new test split, and what the champion scores on it.

    Attributes:
        test: the split.
        champion: number of the champion; None where there is none yet.
        scores: of the champion, as `scoring.score` gives them; None likewise.
    """

    test: HeldOutTest
    champion: str | None
    scores: dict[str, Any] | None


def retest(model: Model, records: str, settings: GateSettings) -> Retested:
    """Makes the test split of records the model's frozen one, and scores the champion on it.

    Args:
        model: which.
        records: URI of what `records` wrote.
        settings: of these, the format and the threads that the champion is run with.

    Raises:
        BoxcarError: 64 where there is no such model; 65 where the champion has seen an image of that split (they are named)
            or calls an id by another name, and then the old split still counts; 69 where the champion changed meanwhile.
    """
    state = read_aliases(model)
    fetched = fetch_records(records)
    with model.owned():
        test = keep_test(model, fetched)
    champion, scores, reason = state.champion, None, f"{len(test.names)} images, {test.objects} objects."
    if champion is not None:
        folder = fetch_version(model, champion)
        refuse_seen(model, champion, folder, test)
        file = find_file(folder, settings.format, f"Version {champion} of {model.name}")
        with Progress("Scoring the champion", len(test.names), "pictures") as progress:
            truths, (found,) = measure([file], test, settings.threads, progress.advance)
        answers = Answers(found.labels, found.detections, found.milliseconds, file.bytes / 1e6)
        scores = decide(truths, test.labels, answers, None, GateSettings()).scores[0]
        ap50 = "no objects" if scores["AP50"] is None else f"{scores['AP50']:.4f}"
        reason = f"{reason[:-1]}; AP50 of version {champion} on them is {ap50}."

    def next_state(now: Aliases) -> Aliases:
        if now.champion != champion:
            raise Changed(f"The champion of {model.name}")
        return now.after("retest", reason, test=test.split)

    if state.test != test.split:
        change(model, next_state)
    return Retested(test, champion, scores)
