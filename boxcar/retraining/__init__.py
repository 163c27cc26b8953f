"""Retrains a model if its images have changed. May import `cluster`, `local`, the steps, and the layers below them."""
