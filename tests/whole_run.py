"""The main job once, whole and for real, as a person starts it: from drawn images to files that were checked for parity."""

from dataclasses import dataclass
from pathlib import Path

from command import boxcar, done

STEPS = 75
IMAGE_SIZE = 128
# Drawn shapes need a higher rate than photographs do, as in `examples/demo.yaml`.
SETTINGS = "learning_rate: 0.004\naugmentations: [horizontal_flip]\n"


@dataclass(frozen=True)
class WholeRun:
    """A finished run and what was said meanwhile. Read only: a test that changes it undoes that, or copies it first."""

    base: Path

    @property
    def images(self) -> Path:
        return self.base / "images"

    @property
    def folder(self) -> Path:
        return self.base / "run"

    @property
    def stdout(self) -> str:
        return (self.base / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.base / "stderr").read_text()

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the run was started with."""
        chosen = ("--image-size", str(IMAGE_SIZE), "--steps", str(STEPS), "--init", "packaged")
        places = ("--data", str(self.images), "--output", str(self.folder), "--config", str(self.base / "config.yaml"))
        return ("run", *places, *chosen)

    def make(self) -> None:
        done("shapes", "--output", str(self.images), "--pictures", "320", "--image-size", "160")
        (self.base / "config.yaml").write_text(SETTINGS)
        ended = boxcar(*self.arguments, timeout=1500)
        assert ended.returncode == 0, ended.stderr
        (self.base / "stdout").write_text(ended.stdout)
        (self.base / "stderr").write_text(ended.stderr)
