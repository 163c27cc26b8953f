"""Uploads and downloads of a run's steps and checkpoints. May import `run`, `storage`, `retry`, and `errors`."""
