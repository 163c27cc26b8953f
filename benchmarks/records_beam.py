"""The records step in Apache Beam against the same step in local processes, on many simulated small images.

Images and labels are real files: JPEGs of 32×24 that differ in a comment, and one COCO file with a box in each.
"""

import io
import json
import random
import shutil
import sys
from pathlib import Path

from measuring import BOXCAR, ROOT, Result, Row, say, scratch
from PIL import Image
from records import timed

BEAM_PYTHON = ROOT / ".tools" / "beam" / "bin" / "python"
TINY = {"count": 600}
SIZE = (32, 24)
FOLDER = 10_000  # images in each folder


def measure(*, count: int = 1_000_000) -> Result:
    if not BEAM_PYTHON.exists():
        sys.exit("There is no Apache Beam: make beam-setup")
    result = Result()
    with scratch() as folder:
        make_images(folder / "data", count)
        words = ["records", "--data", str(folder / "data"), "--output", str(folder / "output")]
        options = ["--", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
        beam = [str(BEAM_PYTHON), "-m", "boxcar", *words, "--runner", "beam"]
        found, versions = {}, set()
        for label, command in {
            "local": [*BOXCAR, *words],
            "beam with two workers": [*beam, *options],
            "beam in one process": beam,
        }.items():
            seconds, megabytes = timed(command)
            say(f"  {label}: {seconds:.0f} s, {megabytes:.0f} MB")
            found[label] = count / seconds, megabytes
            step = json.loads((folder / "output" / "step.json").read_text())
            versions.add(json.dumps(step["files"], sort_keys=True))
            shutil.rmtree(folder / "output")
        assert len(versions) == 1, "the records differ"
        local = found.pop("local")
        for label, (rate, megabytes) in found.items():
            result.rows.append(
                Row(
                    f"{count:,} small images, {label}",
                    f"{rate:.0f} images/s, {megabytes:.0f} MB",
                    f"{local[0]:.0f} images/s, {local[1]:.0f} MB (local runner)",
                    f"{rate / local[0]:.2f} times",
                )
            )
    size = f"{SIZE[0]}×{SIZE[1]}"
    result.notes = [
        f"The images are JPEGs of {size} with one box each, in one COCO file, and all are decoded. Beam runs on its "
        "DirectRunner, on the same machine. Memory is the largest sum over all processes, in which shared pages count "
        "once. All sides wrote the same bytes.",
    ]
    return result


def make_images(folder: Path, count: int) -> None:
    """Labeled images of random colors."""
    chance = random.Random(0)
    jpegs = []
    for _ in range(100):
        file = io.BytesIO()
        Image.frombytes("RGB", (4, 3), chance.randbytes(36)).resize(SIZE).save(file, "JPEG", quality=60)
        jpegs.append(file.getvalue())
    images, annotations = [], []
    for number in range(count):
        jpeg, comment = jpegs[number % len(jpegs)], b"%08d" % number
        path = folder / f"{number // FOLDER:04d}" / f"{number:08d}.jpg"
        if number % FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:])
        name = str(path.relative_to(folder))
        images.append({"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        left, top = chance.randrange(16), chance.randrange(12)
        box = [left, top, chance.randrange(4, 16), chance.randrange(4, 12)]
        annotations.append({"id": number, "image_id": number, "category_id": number % 3 + 1, "bbox": box, "iscrowd": 0})
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(("circle", "square", "triangle"))]
    everything = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(everything))
