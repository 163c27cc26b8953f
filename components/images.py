"""The images that components run in: ours, by the tag of this release. Another registry or tag is chosen when pipelines are
compiled."""

from boxcar import __version__

REPOSITORY = "docker.io/boxcar"
RECORDS, TRAIN, CONVERT, OPS = (f"{REPOSITORY}/{name}:{__version__}" for name in ("records", "train", "convert", "ops"))
