"""The runs in a folder, and the removal of old ones. May import `config` and what is below; no other step."""

from boxcar.retention.listing import FoundRun, find_runs
from boxcar.retention.prune import PrunePlan, plan_prune, prune

__all__ = ["FoundRun", "PrunePlan", "find_runs", "plan_prune", "prune"]
