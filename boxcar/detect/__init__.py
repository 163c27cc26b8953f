"""Any exported file on a person's own pictures."""

from boxcar.detect.detect import detect

__all__ = ["detect"]
