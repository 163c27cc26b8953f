"""Imports modules in its own process, because a module may print, hang, or crash, and reports the result of each import.

Run as `python -P probe.py MODULE...`. Writes one JSON object per module to stdout: `module`, `version` or None, `error` or
None; that of tensorflow also has `gpus`, the names of the GPUs that it sees. Imports nothing of Boxcar, so it needs no path.
"""

import importlib
import json
import os
import sys
from typing import Any


def probe(name: str) -> dict[str, Any]:
    """Imports one module."""
    answer: dict[str, Any] = {"module": name, "version": None, "error": None}
    try:
        module = importlib.import_module(name)
        answer["version"] = getattr(module, "__version__", None)
        if name == "tensorflow":
            gpus = module.config.list_physical_devices("GPU")
            details = [module.config.experimental.get_device_details(gpu) for gpu in gpus]
            answer["gpus"] = [str(detail.get("device_name", "GPU")) for detail in details]
    except Exception as error:  # noqa: BLE001 - a broken installation may raise anything
        lines = str(error).strip().splitlines()
        answer["error"] = lines[0] if lines else type(error).__name__
    return answer


if __name__ == "__main__":
    # What the modules print goes to stderr, so that it does not mix with the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for name in sys.argv[1:]:
            answers.write(json.dumps(probe(name)) + "\n")
            answers.flush()
