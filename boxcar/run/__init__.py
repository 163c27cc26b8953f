"""What every step shares of a run: layout, step commit, checkpoints, progress. Imports `storage`, `retry` and `errors`."""
