"""Where the images of a compiled pipeline are pulled from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from boxcar import __version__
from boxcar.components.images import REPOSITORY
from boxcar.errors import BoxcarError, ExitCode

NAMES = ("records", "train", "convert", "ops")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Images:
    """Our images in one registry.

    Attributes:
        repository: before the images' names.
        tag: of all of them.
        digests: by an image's name: that very image, whatever the tag says. The training Job goes by the tag.
    """

    repository: str = REPOSITORY
    tag: str = __version__
    digests: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, digest in self.digests.items():
            if name not in NAMES or not _DIGEST.fullmatch(digest):
                what = f"{name}={digest} is no digest of an image."
                do = f"Write NAME=sha256: and 64 hexadecimal digits; the names are {', '.join(NAMES)}."
                raise BoxcarError(ExitCode.USAGE, what, do)

    def reference(self, name: str) -> str:
        """What a pod's `image` says."""
        digest = self.digests.get(name)
        return f"{self.repository}/{name}" + (f"@{digest}" if digest else f":{self.tag}")
