"""Boxcar trains object detectors from a team's own labelled photographs."""

__version__ = "0.1.0"
