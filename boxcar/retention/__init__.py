"""A folder of runs: which there are, and which may go."""

from boxcar.retention.listing import FoundRun, find_runs
from boxcar.retention.prune import PrunePlan, plan_prune, prune

__all__ = ["FoundRun", "PrunePlan", "find_runs", "plan_prune", "prune"]
