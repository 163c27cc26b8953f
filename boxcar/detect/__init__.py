"""Any exported file on a person's own pictures."""

from boxcar.detect.step import detect

__all__ = ["detect"]
