"""TensorBoard's logdir: a local copy of the event files of runs that lie in a bucket. It loads no TensorFlow."""

from boxcar.tensorboard_sync.follow import follow_runs

__all__ = ["follow_runs"]
