"""Detection with any exported file on images, videos, or a camera. May import `config` and what is below; no other step."""

from boxcar.detect.detecting import detect

__all__ = ["detect"]
