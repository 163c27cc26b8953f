"""The runs in a folder, and the removal of old ones. May import `config` and the layers below it; no other step."""

from boxcar.retention.pruning import PrunePlan, plan_prune, prune
from boxcar.retention.run_list import FoundRun, find_runs

__all__ = ["FoundRun", "PrunePlan", "find_runs", "plan_prune", "prune"]
