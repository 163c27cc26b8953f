"""What all steps share: a run's layout, step commits, checkpoints, progress. May import `storage`, `retry`, and `errors`."""
