"""Imports modules in a process of its own, because one may be noisy, hang or crash, and says how each went.

Run as `python -P probe.py MODULE...`. Writes one JSON object a module to stdout: `module`, `version` or None, `error` or
None; tensorflow's has `gpus` too, the names of those it sees. Imports nothing of Boxcar, so that it needs no path to it.
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
    except Exception as error:  # noqa: BLE001 - whatever a broken installation raises is what is asked for
        lines = str(error).strip().splitlines()
        answer["error"] = lines[0] if lines else type(error).__name__
    return answer


if __name__ == "__main__":
    # What the modules print must not mix with the answers: their stdout goes where their stderr does.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for name in sys.argv[1:]:
            answers.write(json.dumps(probe(name)) + "\n")
            answers.flush()
