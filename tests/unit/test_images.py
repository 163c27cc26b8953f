"""The images' Dockerfile and locks, without building them: that is for tests/cluster."""

import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "images"
DOCKERFILE = IMAGES / "Dockerfile"
LOCKS = sorted([*IMAGES.glob("*/requirements*.txt"), *IMAGES.glob("*.txt")])
# The parts of pyproject.toml's dependencies that each image with Boxcar in it needs.
EXTRAS = {
    "records": (),
    "records-beam": ("beam",),
    "train": ("train", "cluster"),
    "convert": ("train", "convert"),
    "ops": ("cluster",),
}


def name_of(path: Path) -> str:
    return str(path.relative_to(IMAGES))


@cache
def locked(path: Path) -> dict[str, dict[str, int]]:
    """The packages of a lock: name -> version -> number of hashes. An option in it is an error."""
    packages: dict[str, dict[str, int]] = {}
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    for line in text.splitlines():
        wanted, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
        requirement = Requirement(wanted)
        version = re.fullmatch(r"==([^=*]+)", str(requirement.specifier))
        assert version and requirement.url is None, f"{line} is not pinned"
        packages.setdefault(requirement.name, {})[version[1]] = sum(bool(re.fullmatch("[0-9a-f]{64}", text)) for text in hashes)
    return packages


def test_every_image_is_a_target_and_the_targets_share_their_layers() -> None:
    """What several images begin with is one stage, so that it is built, stored and fetched once."""
    lines = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE.read_text(), flags=re.MULTILINE)
    stages = {name: source for source, name in lines}
    python = "docker.io/library/python:3.11-slim-bookworm"
    assert stages == {
        "base": python,
        "code": python,
        "weights": python,
        "tensorflow": "base",
        **dict.fromkeys(("records", "records-beam", "ops", "tensorboard"), "base"),
        **dict.fromkeys(("train", "convert"), "tensorflow"),
    }


def test_dockerfile_is_clean() -> None:
    command = [Path(sys.executable).with_name("hadolint"), "--config", IMAGES / ".hadolint.yaml", DOCKERFILE]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_only_what_is_locked_is_installed() -> None:
    instructions = DOCKERFILE.read_text().replace("\\\n", "").splitlines()
    installs = [part for line in instructions for part in line.split("&&") if re.search(r"\bpip\b.* install ", part)]
    assert len(installs) == 10
    for install in installs:
        # Boxcar's own wheel has no hash, and comes from no index. What is built may fetch nothing for that.
        assert "--no-deps --require-hashes --only-binary :all:" in install or "--no-deps --no-index" in install
        assert "--no-binary" not in install or "--no-build-isolation" in install


@pytest.mark.parametrize("path", LOCKS, ids=name_of)
def test_packages_are_those_that_are_tested(path: Path) -> None:
    """Every package is hashed, and of a version that the tests run with. CUDA's libraries are for GPUs alone, and Apache
    Beam is tested in an environment of its own, where what records need is the same.
    """
    beam = path.parent.name == "records-beam"
    tested = locked(IMAGES / "records" / "requirements.txt" if beam else ROOT / "requirements" / "requirements.txt")
    others = set()
    for package, versions in locked(path).items():
        assert all(versions.values()), f"{package} has no hash"
        if package not in tested:
            others.add(package)
        else:
            assert set(versions) <= set(tested[package]), f"{package}: run `make images-lock`"
    if path.name == "requirements-gpu.txt":
        assert others and all(package.startswith("nvidia-") for package in others)
    elif beam:
        assert "apache-beam" in others
    else:
        assert others == set()


@pytest.mark.parametrize("lock", ["records", "records-beam", "train", "train-gpu", "convert", "ops"])
def test_image_holds_what_boxcar_needs(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    image, _, device = (lock, "", "") if lock in EXTRAS else lock.partition("-")
    needed = [*project["dependencies"], *(line for extra in EXTRAS[image] for line in project["optional-dependencies"][extra])]
    held = locked(IMAGES / image / (f"requirements-{device}.txt" if device else "requirements.txt"))
    for requirement in map(Requirement, needed):
        assert requirement.name in held, "add it to the image's requirements.in, then `make images-lock`"
        assert all(map(requirement.specifier.contains, held[requirement.name]))


@pytest.mark.parametrize("path", sorted(IMAGES.glob("*/requirements*.in")), ids=name_of)
def test_lock_follows_its_wishes(path: Path) -> None:
    wishes = re.sub(r"\s*#.*", "", path.read_text()).split("\n")
    names = {Requirement(line).name for line in wishes if line and not line.startswith("-r ")}
    assert names and names <= set(locked(path.with_suffix(".txt")))


@pytest.mark.parametrize(
    ("image", "without"),
    [
        ("records", ("tensorflow", "tensorflow-cpu", "kubernetes")),
        ("ops", ("tensorflow", "tensorflow-cpu")),
        ("tensorboard", ("tensorflow", "tensorflow-cpu", "kubernetes", "minio")),
    ],
)
def test_small_images_stay_small(image: str, without: tuple[str, ...]) -> None:
    held = locked(IMAGES / image / "requirements.txt")
    assert not set(without) & set(held)


def test_no_index_is_named() -> None:
    """Which index packages come from is the builder's affair."""
    files = [path for path in [*IMAGES.rglob("*"), ROOT / ".dockerignore"] if path.is_file() and path.suffix != ".md"]
    assert len(files) > 15
    for path in files:
        assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host|PIP_INDEX", path.read_text()), path
