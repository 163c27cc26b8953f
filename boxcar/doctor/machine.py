"""How much of the machine this process can use. In a container, that is less than the machine has."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from boxcar.doctor.finding import Finding
from boxcar.errors import BoxcarError
from boxcar.storage import bucket_location, cache_folder, local_path

GB = 10**9
# Training at 320 pixels with batches of 8 takes 2.7 GB, its evaluator 1 GB.
MEMORY_BYTES = 4 * GB
DISK_BYTES = 5 * GB


def examine_cpus() -> Finding:
    """The CPUs that the process can use, by its affinity and its cgroup's quota."""
    machine = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    usable = min([affinity, *cpu_quotas(cgroup_folders("cpu"))])
    what = f"{usable:g} of the machine's {machine} CPUs can be used." if usable < machine else f"{machine} CPUs."
    if usable < 1:
        return Finding("CPUs", False, what, "Give the container at least one CPU: training is slow with less.")
    return Finding("CPUs", True, what)


def examine_memory() -> Finding:
    """The memory that the process can use, by its cgroup's limit."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    usable = min([machine, *memory_limits(cgroup_folders("memory"))])
    what = f"{machine / GB:.1f} GB of memory."
    if usable < machine:
        what = f"{usable / GB:.1f} of the machine's {machine / GB:.1f} GB of memory can be used."
    if usable < MEMORY_BYTES:
        do = "Training and evaluation at 320 pixels need about 4 GB. Use a smaller --image-size or --batch-size."
        return Finding("Memory", False, what, do)
    return Finding("Memory", True, what)


def examine_disk(folder: str) -> Finding:
    """Free space for runs, or for the working copies of runs in a bucket, and whether the folder can be written."""
    try:
        path = place = (local_path(folder) if bucket_location(folder) is None else cache_folder()).absolute()
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
    except BoxcarError as error:
        return Finding("Disk", False, error.what, error.do)
    except OSError as error:
        return Finding("Disk", False, f"{folder} cannot be read: {error.strerror}.", "Choose another folder for runs.")
    if not place.is_dir():
        return Finding("Disk", False, f"{place} is a file, not a folder.", "Choose another folder for runs.")
    if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        return Finding("Disk", False, f"{place} cannot be written to.", "Choose a folder for runs that you can write to.")
    what = f"{free / GB:.1f} GB are free for runs in {path}."
    if free < DISK_BYTES:
        return Finding("Disk", False, what, "Free some space: a run keeps checkpoints and exported files, up to 5 GB.")
    return Finding("Disk", True, what)


def cgroup_folders(
    controller: str, root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> Iterator[Path]:
    """The folders whose limits apply to this process: that of its own cgroup, then those above it.

    Both versions of cgroups are read, because hosts mix them. In a container, the membership may be a path of the host that is
    not mounted there; then the container's own limits are at the root.
    """
    if not membership.exists():
        return
    for line in membership.read_text(encoding="utf-8").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            top = root
        elif controller in controllers.split(","):
            top = root / controller
        else:
            continue
        own = top / path.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(top) and folder.is_dir())


def cpu_quotas(folders: Iterator[Path]) -> Iterator[float]:
    """CPUs that each folder allows, if it limits them: `cpu.max` (version 2), `cpu.cfs_quota_us` (version 1)."""
    for folder in folders:
        words = _words(folder / "cpu.max") or _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(words) == 2 and words[0] not in ("max", "-1"):
            yield int(words[0]) / int(words[1])


def memory_limits(folders: Iterator[Path]) -> Iterator[int]:
    """Bytes that each folder allows: `memory.max` (version 2), `memory.limit_in_bytes` (version 1, huge for none)."""
    for folder in folders:
        for word in _words(folder / "memory.max") + _words(folder / "memory.limit_in_bytes"):
            if word != "max":
                yield int(word)


def _words(path: Path) -> list[str]:
    """The words of a small kernel file; none if there is no such file."""
    return path.read_text(encoding="utf-8").split() if path.is_file() else []
