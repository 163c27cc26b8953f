"""`make bench-records`: the records step against Model Garden's create_coco_tf_record, on the same images, in one run.

Measures whole commands by wall clock, including imports. The images are generated: JPEGs of 640×480 with four boxes each.
Ends with 1 if the step is not three times as fast as Model Garden's better figure, or needs more than 150 MB.

Usage: python benchmarks/records.py [--pictures 20000] [--ours-only]
"""

import argparse
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

SIZE = (640, 480)
KILOBYTES = 72
DISTINCT = 200  # noise takes long to encode: the others are copies that differ in a comment
MOST_MEGABYTES = 150
LEAST_RATIO = 3.0
CLASSES = ("cat", "dog", "bird")

OBJECT = (
    "\t<object>\n\t\t<name>{}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n"
    "\t\t<difficult>0</difficult>\n\t\t<bndbox>\n\t\t\t<xmin>{}</xmin>\n\t\t\t<ymin>{}</ymin>\n"
    "\t\t\t<xmax>{}</xmax>\n\t\t\t<ymax>{}</ymax>\n\t\t</bndbox>\n\t</object>\n"
)
ANNOTATION = (
    "<annotation>\n\t<folder>images</folder>\n\t<filename>{0}</filename>\n\t<path>/home/someone/images/{0}</path>\n"
    "\t<source>\n\t\t<database>Unknown</database>\n\t</source>\n\t<size>\n\t\t<width>640</width>\n\t\t<height>480</height>\n"
    "\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n{1}</annotation>\n"
)


def make_images(folder: Path, count: int) -> None:
    """The images with labelImg's XML beside them, and the same boxes as COCO's JSON."""
    chance = random.Random(0)
    jpegs = []
    for _ in range(min(DISTINCT, count)):
        noise = Image.frombytes("RGB", (SIZE[0] // 4, SIZE[1] // 4), chance.randbytes(SIZE[0] * SIZE[1] * 3 // 16))
        file = io.BytesIO()
        noise.resize(SIZE, Image.Resampling.BICUBIC).save(file, "JPEG", quality=58)
        jpegs.append(file.getvalue())
    (folder / "images").mkdir()
    images, annotations = [], []
    for number in range(count):
        jpeg, comment = jpegs[number % len(jpegs)], b"%08d" % number
        name = f"picture-{number:06d}.jpg"
        with_comment = jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
        (folder / "images" / name).write_bytes(with_comment)
        images.append({"id": number + 1, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        objects = []
        for _ in range(4):
            left, top = chance.randrange(500), chance.randrange(380)
            width, height = chance.randrange(20, 140), chance.randrange(20, 100)
            label = chance.randrange(len(CLASSES))
            objects.append(OBJECT.format(CLASSES[label], left, top, left + width, top + height))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": label + 1,
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
        (folder / "images" / name.replace(".jpg", ".xml")).write_text(ANNOTATION.format(name, "".join(objects)))
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    everything = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(everything))


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds, and the most megabytes that the command and its children held at one time (shared pages counted once)."""
    started = time.perf_counter()
    most = 0.0
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            most = max(most, _proportional_memory(process.pid))
            time.sleep(0.1)
        seconds = time.perf_counter() - started
        if process.returncode:
            log.seek(0)
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{log.read()[-3000:].decode(errors='replace')}")
    return seconds, most


def _proportional_memory(pid: int) -> float:
    total = 0.0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1000
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(_proportional_memory(int(child)) for child in (task / "children").read_text().split())
    except OSError:
        pass  # it has ended in the meantime, which leaves nothing to count
    return total


def decoder_seconds(folder: Path, count: int) -> float:
    """What Pillow's JPEG decoder alone would take, on as many processes as the step uses."""
    contents = [path.read_bytes() for path in sorted((folder / "images").glob("*.jpg"))[:400]]
    started = time.perf_counter()
    for content in contents:
        image = Image.open(io.BytesIO(content))
        image.draft(image.mode, (1, 1))
        image.load()
    seconds = (time.perf_counter() - started) / len(contents) * count
    return seconds / min(len(os.sched_getaffinity(0)), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--ours-only", action="store_true", help="leave Model Garden out")
    arguments = parser.parse_args()
    count = arguments.pictures

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder, count)
        total = sum(path.stat().st_size for path in (folder / "images").glob("*.jpg"))
        print(f"{count:,} images of {SIZE[0]}×{SIZE[1]}, {total / count / 1000:.0f} kB each, 4 boxes each", flush=True)

        def measured(label: str, command: list[str], output: Path) -> float:
            output.mkdir()
            seconds, megabytes = timed(command)
            written = sum(path.stat().st_size for path in output.glob("*.tfrecord"))
            assert written > total, f"{command} wrote {written:,} bytes of records"
            shutil.rmtree(output)
            print(f"{label:<44}{seconds:6.1f} s {count / seconds:8.0f}/s {megabytes:7.0f} MB", flush=True)
            figures[label] = (count / seconds, megabytes)
            return seconds

        figures: dict[str, tuple[float, float]] = {}
        output = folder / "output"
        ours = [sys.executable, "-m", "boxcar", "records", "--data", str(folder / "images"), "--output", str(output)]
        garden = [sys.executable, "-m", "official.vision.data.create_coco_tf_record"]
        garden += [f"--image_dir={folder / 'images'}", f"--object_annotations_file={folder / 'annotations.json'}"]
        garden += [f"--output_file_prefix={output / 'train'}", "--num_shards=16"]
        if not arguments.ours_only:
            for processes in (0, 2):
                label = f"Model Garden, --num_processes={processes}"
                measured(label, [*garden, f"--num_processes={processes}"], output)
        measured("boxcar records --no-full-decode", [*ours, "--no-full-decode"], output)
        seconds = measured("boxcar records", ours, output)
        share = decoder_seconds(folder, count) / seconds
        print(f"of the last, the JPEG decoder's own share: {share:.0%}")

    failed = False
    rate, megabytes = figures["boxcar records --no-full-decode"]
    if not arguments.ours_only:
        ratio = rate / max(figure for label, (figure, _) in figures.items() if label.startswith("Model Garden"))
        failed = ratio < LEAST_RATIO
        print(f"{ratio:.1f} times Model Garden's better rate (at least {LEAST_RATIO:g} asked)")
    megabytes = max(megabytes, figures["boxcar records"][1])
    failed |= megabytes > MOST_MEGABYTES
    print(f"{megabytes:.0f} MB of memory (at most {MOST_MEGABYTES} asked)")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
