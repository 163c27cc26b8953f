"""What every step shares of a run: configuration, step commit, failure record, progress; and the chain above the steps."""
