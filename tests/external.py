"""What tests need that `make setup` does not bring: where each is looked for, and the command that brings it."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("BOXCAR_SHARED", ROOT.parent / "shared"))


@dataclass(frozen=True)
class External:
    """Something that a test is skipped without.

    Attributes:
        path: of its program, or of the folder that holds it.
        reason: why a test is skipped, with the command that changes it. Tests are counted by it.
    """

    path: Path
    reason: str

    @property
    def needed(self) -> pytest.MarkDecorator:
        """Marks a test, or a module by its `pytestmark`."""
        return pytest.mark.skipif(not self.path.exists(), reason=self.reason)

    def need(self) -> None:
        """For fixtures: skips the tests that ask for one."""
        if not self.path.exists():
            pytest.skip(self.reason)


def _minio() -> Path:
    if named := os.environ.get("BOXCAR_MINIO"):
        return Path(named)
    places = (ROOT / ".tools" / "bin" / "minio", Path("/opt/boxcar-cluster/bin/minio"))
    return next((place for place in places if place.exists()), places[0])


MINIO = External(_minio(), "There is no MinIO server: make minio (it needs Go), or BOXCAR_MINIO=/path/to/minio make test")
CHROMIUM = External(Path("/usr/bin/chromium"), "There is no Chromium: apt-get install chromium")
RACCOON = External(
    SHARED / "datasets" / "raccoon", "There are no real photographs: BOXCAR_SHARED=/folder/with/datasets/raccoon make test"
)
ZOO = External(
    SHARED / "zoo" / "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8",
    "There is no checkpoint of the zoo: BOXCAR_SHARED=/folder/with/zoo make test",
)
OBJECT_DETECTION_API = External(
    ROOT / ".bench" / "object_detection_api" / "bin" / "python", "There is no Object Detection API: make bench-setup"
)
BEAM = External(ROOT / ".tools" / "beam" / "bin" / "python", "There is no Apache Beam: make beam-setup")

# A machine that checks changes must have these: there, a test that is skipped without one fails.
REQUIRED = (MINIO, CHROMIUM, RACCOON, ZOO)
SKIP_NOTHING = os.environ.get("BOXCAR_SKIP_NOTHING") == "1"
