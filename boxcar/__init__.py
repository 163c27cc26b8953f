"""Boxcar trains object detectors from a team's own labeled photographs. The packages below it import in one direction only."""

__version__ = "0.1.0"
