"""A local copy of the event files of runs in a bucket, for TensorBoard.

May import `config` and what is below; never TensorFlow.
"""

from boxcar.tensorboard_sync.follow import follow_runs

__all__ = ["follow_runs"]
