"""Runs benchmarks and writes docs/reference/benchmarks.md; ends with 1 where a figure is not reached.

Usage: python benchmarks/run.py [training] [input] [evaluator] [checkpoints] [learning] [storage] [exports] [records] [beam]
"""

import argparse
import importlib
import signal
import sys
import time

import table
from measuring import say

# Name, title, and minutes on two cores.
BENCHMARKS = {
    "training": ("Training", "training", 15),
    "input": ("Input pipeline", "input_pipeline", 3),
    "evaluator": ("Evaluator", "evaluator", 5),
    "checkpoints": ("Checkpoints and summaries", "checkpoints", 12),
    "learning": ("Learning", "learning", 60),
    "storage": ("Storage", "storage", 3),
    "exports": ("Exports", "exports", 25),
    "records": ("Records", "records", 10),
    "beam": ("Records in Apache Beam", "records_beam", 30),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], help="which; all if none is named")
    parser.add_argument("--tiny", action="store_true", help="only see that it runs: no figure of it means anything")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that children end too
    missed = False
    for name in arguments.names or BENCHMARKS:
        title, module, minutes = BENCHMARKS[name]
        say(f"{title}: about {minutes} minutes on two cores")
        started = time.monotonic()
        benchmark = importlib.import_module(module)
        result = benchmark.measure(**benchmark.TINY) if arguments.tiny else benchmark.measure()
        for row in result.rows:
            verdict = "" if row.reached is None else " - reached" if row.reached else " - NOT REACHED"
            say(f"  {row.what}: {row.ours} | {row.theirs} | {row.ratio} | asked: {row.asked or '-'}{verdict}")
            missed |= row.reached is False
        say(f"  measured in {(time.monotonic() - started) / 60:.1f} minutes")
        if not arguments.tiny:
            table.write(name, title, result, list(BENCHMARKS))
    sys.exit(int(missed))


if __name__ == "__main__":
    main()
