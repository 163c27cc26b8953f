"""Packaged weights: where they come from, how they are converted at set-up, and how training reads them. May import
`detectors` and what is below.

`prepare` and `fpnlite_from_tfjs` run while an image is built, where little else is installed: they import NumPy, `errors`, and
each other only.
"""
