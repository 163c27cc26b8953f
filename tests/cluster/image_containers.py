"""Runs an image as a strict pod would: as its own user, with a read-only root, no capabilities, and /work to write to."""

import contextlib
import json
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Container:
    """An image's files, mounted. Each run is a new process on them."""

    def __init__(self, image: str, root: Path, bundles: Path) -> None:
        self.image, self.root, self._bundles = image, root, bundles
        self.manifest = json.loads(told("buildah", "inspect", "--type", "image", image))
        self.settings: dict[str, Any] = self.manifest["OCIv1"]["config"]

    def command(self, work: Path, *arguments: str, **environment: str) -> list[str]:
        """What runs the image's entry point with these arguments in this machine's network.

        Args:
            work: the folder that lies at /work; the image's user must be able to write there.
            arguments: of the entry point.
            environment: beside the image's own.
        """
        user, group = map(int, self.settings["User"].split(":"))
        variables = [*self.settings["Env"], *(f"{name}={value}" for name, value in environment.items())]
        bundle = Path(tempfile.mkdtemp(dir=self._bundles))
        configuration = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": user, "gid": group},
                "args": [*self.settings["Entrypoint"], *arguments],
                "env": variables,
                "cwd": self.settings["WorkingDir"],
                "capabilities": {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")},
                "noNewPrivileges": True,
            },
            "root": {"path": str(self.root), "readonly": True},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "mode=1777"]},
                {"destination": "/work", "type": "bind", "source": str(work), "options": ["bind", "rw"]},
                {"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["bind", "ro"]},
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
        }
        (bundle / "config.json").write_text(json.dumps(configuration))
        return ["runc", "run", "--bundle", str(bundle), f"boxcar-{secrets.token_hex(6)}"]

    def run(self, work: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the image's entry point to its end."""
        command = self.command(work, *arguments, **environment)
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def mounted(image: str) -> Iterator[Container]:
    """An image of buildah's store, to look at and to run."""
    name = told("buildah", "from", "--pull-never", image)
    try:
        root = Path(told("buildah", "mount", name))
        with tempfile.TemporaryDirectory() as bundles:
            yield Container(image, root, Path(bundles))
    finally:
        told("buildah", "rm", name)


def compressed_bytes(images: list[str]) -> dict[str, int]:
    """The size of each image's layers as a registry holds them, compressed with gzip."""
    sizes = {}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        for number, image in enumerate(images):
            # Into one layout: a layer that two images share is compressed once.
            told(
                "buildah", "push", "--quiet", "--format", "oci", "--compression-format", "gzip", image, f"oci:{folder}:{number}"
            )
        index = json.loads((Path(folder) / "index.json").read_text())
        for image, entry in zip(images, index["manifests"], strict=True):
            digest = entry["digest"].removeprefix("sha256:")
            manifest = json.loads((Path(folder) / "blobs" / "sha256" / digest).read_text())
            sizes[image] = sum(layer["size"] for layer in manifest["layers"])
    return sizes


def told(*command: str) -> str:
    """What a command prints; it must succeed."""
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{' '.join(command)}:\n{run.stderr[-4000:]}"
    return run.stdout.strip()
