"""A run's steps and checkpoints sent to a bucket and fetched from one. Imports `run`, `storage`, `retry` and `errors`."""
