"""A folder of runs: which there are, and which may go."""

from boxcar.retention.listing import FoundRun, find_runs
from boxcar.retention.prune import Plan, plan_prune, prune

__all__ = ["FoundRun", "Plan", "find_runs", "plan_prune", "prune"]
