"""Any exported file on a person's own images."""

from boxcar.detect.detecting import detect

__all__ = ["detect"]
