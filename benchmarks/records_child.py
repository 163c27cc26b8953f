"""Runs the records step, and prints the seconds of the health page alone: figures, thumbnails, and the page.

Usage: python records_child.py DATA OUTPUT
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from boxcar.records import build_records, writing

PAGE = ("examine", "suspicious_thumbnails", "write_health_page")


def main() -> None:
    seconds = [0.0]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*values)
            finally:
                seconds[0] += time.perf_counter() - started

        return call

    for name in PAGE:
        setattr(writing, name, timed(getattr(writing, name)))
    build_records(*sys.argv[1:], full_decode=False)
    print(json.dumps({"seconds": seconds[0]}))


if __name__ == "__main__":  # worker processes import this file
    main()
