"""The images that components run in: ours, by the tag of this release. Another registry or tag is chosen at compile time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from boxcar import __version__
from boxcar.config.cluster_settings import IMAGE_DIGEST, IMAGES
from boxcar.errors import BoxcarError, ExitCode


@dataclass(frozen=True)
class Images:
    """Our images in one registry.

    Attributes:
        repository: before the images' names.
        tag: of all of them.
        digests: by an image's name: that very image, whatever the tag says. `train-gpu` is what the Job trains in on GPUs.
    """

    repository: str = "docker.io/boxcar"
    tag: str = __version__
    digests: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, digest in self.digests.items():
            if name not in IMAGES or not IMAGE_DIGEST.fullmatch(digest):
                what = f"{name}={digest} is not the digest of a container image."
                do = f"Write NAME=sha256: and 64 hexadecimal digits; the names are {', '.join(IMAGES)}."
                raise BoxcarError(ExitCode.USAGE, what, do)

    def reference(self, name: str) -> str:
        """What a pod's `image` says."""
        digest = self.digests.get(name)
        return f"{self.repository}/{name}" + (f"@{digest}" if digest else f":{self.tag}")

    def settings(self) -> dict[str, Any]:
        """The same for the training Job: a part of the cluster's settings."""
        return {"image_repository": self.repository, "image_tag": self.tag, "image_digests": dict(self.digests)}


# What a component names before a pipeline gives it an image.
RECORDS, TRAIN, CONVERT, OPS = (Images().reference(name) for name in ("records", "train", "convert", "ops"))
