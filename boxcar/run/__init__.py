"""What every step shares of a run: its layout, the step commit, checkpoints, progress. Imports `storage`, `retry` and `errors`."""
