"""Files sent to a bucket and fetched from it, against the MinIO SDK called in a plain loop, on one MinIO server on loopback.

The server is the program that BOXCAR_MINIO names. Both sides in child processes of their own, in turns; timed inside them,
without the start of Python. Ours sends and fetches a step, with every file's SHA-256 verified; theirs sends and fetches files.
"""

import contextlib
import hashlib
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from measuring import ROOT, Result, Row, answer, median, run, say, scratch

MINIO = os.environ.get("BOXCAR_MINIO", "/opt/boxcar-cluster/bin/minio")
CHILD = ROOT / "benchmarks" / "storage_child.py"
MOST_MEGABYTES = 200
TINY = {"small": 20, "large_megabytes": 20, "repetitions": 1}


def measure(*, small: int = 1000, large_megabytes: int = 1000, repetitions: int = 3) -> Result:
    if not os.access(MINIO, os.X_OK):
        sys.exit(f"There is no MinIO server at {MINIO}: set BOXCAR_MINIO to its path.")
    result = Result()
    memory: dict[str, list[float]] = {"boxcar": [], "sdk": []}
    with scratch() as folder, serving(folder / "server") as environment:
        for what, count, size, least in (
            (f"{small:,} files of 100 kB", small, 100_000, 3.0),
            (f"one file of {large_megabytes / 1000:g} GB", 1, large_megabytes * 1_000_000, 0.9),
        ):
            data = step(folder / "data", count, size)
            seconds: dict[tuple[str, str], list[float]] = {}
            for _ in range(repetitions):
                for side in ("boxcar", "sdk"):
                    bucket, copy = f"bucket-{secrets.token_hex(6)}", folder / "copy"
                    for way, place in (("up", data), ("down", copy)):
                        ended = run([sys.executable, CHILD, side, way, bucket, place], environment=environment)
                        seconds.setdefault((side, way), []).append(answer(ended)["seconds"])
                        memory[side].append(ended.megabytes)
                        say(f"  {what} {way}, {side}: {seconds[side, way][-1]:.2f} s")
                    remove(copy)
            for way in ("up", "down"):
                ours, theirs = (median(seconds[side, way]) for side in ("boxcar", "sdk"))
                result.rows.append(
                    Row(
                        f"{what}, {way}",
                        f"{ours:.2f} s, {count * size / ours / 1e6:.0f} MB/s",
                        f"{theirs:.2f} s, {count * size / theirs / 1e6:.0f} MB/s",
                        f"{theirs / ours:.2f} times",
                        f"{least:g} times",
                        theirs / ours >= least,
                    )
                )
            remove(data)
    most, others = max(memory["boxcar"]), max(memory["sdk"])
    result.rows.append(
        Row("peak memory", f"{most:.0f} MB", f"{others:.0f} MB", "", f"under {MOST_MEGABYTES} MB", most < MOST_MEGABYTES)
    )
    result.notes = [
        "A MinIO server on loopback and its client share the cores. Boxcar's side is `send_folder` and `fetch_folder` of a "
        "step, with its markers and with the SHA-256 of every file verified both ways. The other side is `fput_object` and "
        f"`fget_object` for each file. The figures are medians of {repetitions} repetitions."
    ]
    return result


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """A MinIO server; what a client needs to find it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    user, password = "benchmark", secrets.token_hex(16)
    variables = os.environ | {"MINIO_ROOT_USER": user, "MINIO_ROOT_PASSWORD": password, "MINIO_BROWSER": "off"}
    command = [MINIO, "server", str(folder), "--address", address, "--quiet"]
    server = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/minio/health/ready"):
                break
            time.sleep(0.1)
        yield {"BOXCAR_S3_ENDPOINT": f"http://{address}", "AWS_ACCESS_KEY_ID": user, "AWS_SECRET_ACCESS_KEY": password}
    finally:
        server.kill()
        server.wait()


def step(folder: Path, count: int, size: int) -> Path:
    """A finished step of so many files of so many bytes."""
    folder.mkdir()
    listed = {}
    for number in range(count):
        sha256 = hashlib.sha256()
        with (folder / f"{number:04}").open("wb") as file:
            for start in range(0, size, 1_000_000):
                piece = random.randbytes(min(1_000_000, size - start))
                sha256.update(piece)
                file.write(piece)
        listed[f"{number:04}"] = {"bytes": size, "sha256": sha256.hexdigest()}
    record = {"step": "records", "files": listed, "inputs": {}, "parameters": {}}
    (folder / "step.json").write_text(json.dumps(record))
    return folder


def remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
