"""docs/reference/benchmarks.md: a section for each benchmark, replaced when it is measured again."""

import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from measuring import ROOT, Result

DOCUMENT = ROOT / "docs" / "reference" / "benchmarks.md"
HEAD = """# Benchmarks

`make bench` measures all sections, and `make bench-NAME` measures one. Both sides are measured in one run on the same machine.
The exit code is 1 if a target is missed. `make bench-setup` installs the tools that Boxcar is compared with. Times on a
shared machine vary by about 10%.
"""


def write(name: str, title: str, result: Result, order: list[str]) -> None:
    """Puts the section of benchmark `name` in its place among those that are there."""
    sections = _read()
    sections[name] = _section(name, title, result)
    ordered = [sections[known] for known in order if known in sections]
    DOCUMENT.write_text(HEAD + "".join(ordered), encoding="utf-8")


def _section(name: str, title: str, result: Result) -> str:
    lines = [
        "",
        f"## {title}",
        "",
        f"`make bench-{name}`, {datetime.now(UTC):%Y-%m-%d}; {machine()}",
        "",
        "| measurement | Boxcar | compared with | ratio | target | met |",
        "|---|---|---|---|---|---|",
    ]
    for row in result.rows:
        reached = "" if row.reached is None else "yes" if row.reached else "**no**"
        lines.append(f"| {row.what} | {row.ours} | {row.theirs} | {row.ratio} | {row.asked} | {reached} |")
    lines += ["", *result.notes, ""]
    return "\n".join(lines)


def _read() -> dict[str, str]:
    if not DOCUMENT.exists():
        return {}
    parts = re.split(r"^(?=## )", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {}
    for part in parts:
        name = re.search(r"`make bench-(\w+)`", part)
        if name:
            found[name[1]] = "\n" + part.rstrip("\n") + "\n"
    return found


def machine() -> str:
    """CPU, cores, AVX-512 and versions, in a phrase."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*:\s*(.+)", info)
    name = model[1].strip() if model else platform.processor() or platform.machine()
    avx512 = "with" if re.search(r"\bavx512f\b", info) else "without"
    return f"{name}, {cores()} cores, {avx512} AVX-512, TensorFlow {_tensorflow()}, Python {platform.python_version()}"


def cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tensorflow() -> str:
    try:
        return version("tensorflow-cpu")
    except ImportError:
        return version("tensorflow")
