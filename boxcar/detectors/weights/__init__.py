"""Packaged weights: where they come from, how they are converted at set-up, and how training reads them. May import
`detectors` and what is below.

`prepare` and the converters run while an image is built, where little else is installed: they import NumPy, LiteRT's schema of
TFLite files, `errors`, and each other only.
"""
