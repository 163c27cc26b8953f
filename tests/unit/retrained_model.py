"""A model for tests of retraining. Its runs are written by hand instead of trained."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from registered import write_run
from webhook import Webhook

from boxcar.config.run_settings import Configuration, make_configuration
from boxcar.registry import Model, add_version, promote_regardless
from boxcar.registry.ledger import Entry, read_entries
from boxcar.retraining.cycle import Retrained, RetrainingLauncher, retrain
from boxcar.run.layout import DECISION
from boxcar.storage import replace_json

Train = Callable[[Configuration, str], None]
Decide = Callable[[Model, str, Configuration, str], None]


class RetrainedModel:
    """A model, a folder of images, and a launcher. Tests may replace `train` and `decide`, the launcher's two parts.

    Attributes:
        verdicts: the next decisions of the gate; `promoted` after these.
        failures: what the next trainings raise.
        trained: the configurations that training was started with.
        seconds: what a training takes, by its history.
    """

    def __init__(self, folder: Path, webhook: Webhook) -> None:
        self.model = Model(str(folder / "models"), "cats")
        self.folder = Path(self.model.uri)
        self.data, self.runs, self.webhook = folder / "data", folder / "runs", webhook
        self.train: Train = self._train
        self.decide: Decide = self._decide
        self.verdicts: list[str] = []
        self.failures: list[BaseException] = []
        self.trained: list[Configuration] = []
        self.seconds = 3600.0
        self.label(0)

    def label(self, *numbers: int) -> None:
        """Adds labeled images."""
        self.data.mkdir(exist_ok=True)
        for number in numbers:
            (self.data / f"{number}.jpg").write_bytes(b"picture %d" % number)
            (self.data / f"{number}.xml").write_bytes(b"boxes %d" % number)

    def retrain(self, settings: dict[str, Any] | None = None, **retraining: Any) -> Retrained:
        """A retraining on two GPUs."""
        configuration = make_configuration(None, {"data": str(self.data), "retraining": retraining, **(settings or {})})
        return retrain(self.model, configuration, str(self.runs), RetrainingLauncher(self.train, self.decide, lambda _: 2))

    def entries(self) -> list[Entry]:
        return read_entries(self.model.store)

    def outcomes(self) -> list[str]:
        """The outcomes that the webhook has accepted."""
        return [message["outcome"] for message in self.webhook.accepted]

    def promote_another(self) -> None:
        """Promotes a version that no retraining made."""
        number = add_version(self.model, str(write_run(self.runs / "by-hand", seed=77)))
        promote_regardless(self.model, number, "Somebody was quicker.")

    def _train(self, configuration: Configuration, run: str) -> None:
        self.trained.append(configuration)
        folder = Path(run)
        (folder / "train").mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
        (folder / "train" / "history.jsonl").write_text(json.dumps({"step": 1, "seconds": self.seconds}) + "\n")
        if self.failures:
            raise self.failures.pop(0)
        if not (folder / "export").exists():
            write_run(folder, seed=len(self.trained))

    def _decide(self, model: Model, number: str, configuration: Configuration, run: str) -> None:
        verdict = self.verdicts.pop(0) if self.verdicts else "promoted"
        replace_json(Path(run) / DECISION, {"decision": verdict, "reason": f"It is {verdict}."})
        if verdict == "promoted":
            promote_regardless(model, number, f"It is {verdict}.")
