"""The records step against Model Garden's create_coco_tf_record, on the same images in several label formats, in one run.

Measures whole commands by wall clock, including imports. The images are generated: JPEGs of 640×480 with four boxes each.
"""

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

from measuring import BOXCAR, ROOT, Result, Row, answer, median, run, say, scratch
from PIL import Image

CHILD = ROOT / "benchmarks" / "records_child.py"
TINY = {"count": 40, "megabytes": 2, "repetitions": 1}
SIZE = (640, 480)
DISTINCT = 200  # noise takes long to encode: the others are copies that differ in a comment
CLASSES = ("cat", "dog", "bird")
# What is asked.
LEAST_VOC, LEAST_COCO, LEAST_YOLO = 4.1, 3.0, 1.0
MOST_VOC_MEGABYTES, MOST_MEGABYTES = 90, 150
MOST_PAGE_SECONDS = 3.0
POLYGON = 30  # corners of an outline in the large COCO file

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
    """The images in the folders `voc`, `coco`, and `yolo`, which share the files, with the same boxes in each format."""
    chance = random.Random(0)
    jpegs = []
    for _ in range(min(DISTINCT, count)):
        noise = Image.frombytes("RGB", (SIZE[0] // 4, SIZE[1] // 4), chance.randbytes(SIZE[0] * SIZE[1] * 3 // 16))
        file = io.BytesIO()
        noise.resize(SIZE, Image.Resampling.BICUBIC).save(file, "JPEG", quality=58)
        jpegs.append(file.getvalue())
    for name in ("voc", "coco/images", "yolo"):
        (folder / name).mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        jpeg, comment = jpegs[number % len(jpegs)], b"%08d" % number
        name = f"picture-{number:06d}.jpg"
        with_comment = jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
        (folder / "voc" / name).write_bytes(with_comment)
        for other in ("coco/images", "yolo"):
            (folder / other / name).hardlink_to(folder / "voc" / name)
        images.append({"id": number + 1, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        objects, lines = [], []
        for _ in range(4):
            left, top = chance.randrange(500), chance.randrange(380)
            width, height = chance.randrange(20, 140), chance.randrange(20, 100)
            label = chance.randrange(len(CLASSES))
            objects.append(OBJECT.format(CLASSES[label], left, top, left + width, top + height))
            center = (left + width / 2) / SIZE[0], (top + height / 2) / SIZE[1]
            lines.append(f"{label} {center[0]:.6f} {center[1]:.6f} {width / SIZE[0]:.6f} {height / SIZE[1]:.6f}\n")
            box = [left, top, width, height]
            annotations.append(_annotation(len(annotations) + 1, number + 1, label, box))
        (folder / "voc" / name.replace(".jpg", ".xml")).write_text(ANNOTATION.format(name, "".join(objects)))
        (folder / "yolo" / name.replace(".jpg", ".txt")).write_text("".join(lines))
    (folder / "yolo" / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    (folder / "coco" / "annotations.json").write_text(json.dumps({**_lists(images), "annotations": annotations}))


def make_large_coco(folder: Path, count: int, megabytes: int) -> int:
    """A COCO file of about that size for the images in the folder `coco`: many boxes with outlines. Returns their number."""
    chance = random.Random(1)
    images = [
        {"id": number + 1, "file_name": f"picture-{number:06d}.jpg", "width": SIZE[0], "height": SIZE[1]}
        for number in range(count)
    ]
    path, boxes = folder / "coco" / "annotations.json", 0
    with path.open("w") as file:
        file.write(json.dumps(_lists(images))[:-1] + ', "annotations": [')
        while file.tell() < megabytes * 1_000_000:
            left, top, width, height = chance.randrange(500), chance.randrange(380), chance.randrange(20, 140), 50
            corners = [round(number + chance.random(), 2) for _ in range(POLYGON) for number in (left, top)]
            # All boxes of an image are not together, as in COCO's own files.
            entry = _annotation(boxes + 1, boxes % count + 1, boxes % len(CLASSES), [left, top, width, height])
            file.write((", " if boxes else "") + json.dumps({**entry, "segmentation": [corners]}))
            boxes += 1
        file.write("]}")
    return boxes


def _annotation(number: int, image: int, label: int, box: list[int]) -> dict[str, object]:
    area = box[2] * box[3]
    return {"id": number, "image_id": image, "category_id": label + 1, "bbox": box, "area": area, "iscrowd": 0}


def _lists(images: list[dict[str, object]]) -> dict[str, object]:
    return {"images": images, "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]}


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds, and the most megabytes that the command and its children held at one time (shared pages counted once)."""
    started = time.perf_counter()
    most = 0.0
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=ROOT)
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


def measure(*, count: int = 20_000, megabytes: int = 1_000, repetitions: int = 2) -> Result:
    result = Result()
    with scratch() as folder:
        make_images(folder, count)
        total = sum(path.stat().st_size for path in (folder / "voc").glob("*.jpg"))
        rates: dict[str, list[float]] = {}
        memory: dict[str, float] = {}

        def measured(label: str, command: list[str]) -> None:
            output = folder / "output"
            output.mkdir()
            seconds, most = timed([*command[:-1], command[-1].format(output)])
            written = sum(path.stat().st_size for path in output.glob("*.tfrecord"))
            assert written > total, f"{command} wrote {written:,} bytes of records"
            shutil.rmtree(output)
            say(f"  {label}: {seconds:.1f} s, {count / seconds:.0f}/s, {most:.0f} MB")
            rates.setdefault(label, []).append(count / seconds)
            memory[label] = max(memory.get(label, 0.0), most)

        garden = [
            sys.executable,
            "-m",
            "official.vision.data.create_coco_tf_record",
            f"--image_dir={folder / 'coco' / 'images'}",
        ]
        garden += [f"--object_annotations_file={folder / 'coco' / 'annotations.json'}", "--num_shards=16"]
        for _ in range(repetitions):
            for processes in (0, 2):
                label = f"Model Garden, --num_processes={processes}"
                measured(label, [*garden, f"--num_processes={processes}", "--output_file_prefix={}/train"])
            for layout in ("voc", "coco", "yolo"):
                command = [*BOXCAR, "records", "--data", str(folder / layout), "--no-full-decode", "--output", "{}"]
                measured(layout, command)
        measured("voc, fully decoded", [*BOXCAR, "records", "--data", str(folder / "voc"), "--output", "{}"])
        theirs, side = max((median(found), label) for label, found in rates.items() if label.startswith("Model Garden"))
        for layout, title, least in (("voc", "Pascal VOC", LEAST_VOC), ("coco", "COCO", LEAST_COCO)):
            ours = median(rates[layout])
            result.rows.append(
                Row(
                    f"{count:,} images labeled in {title}",
                    f"{ours:.0f} images/s, {memory[layout]:.0f} MB",
                    f"{theirs:.0f} images/s, {memory[side]:.0f} MB ({side})",
                    f"{ours / theirs:.1f} times",
                    f"{least:g} times",
                    ours / theirs >= least,
                )
            )
        voc, yolo = median(rates["voc"]), median(rates["yolo"])
        result.rows += [
            Row(
                "the same labeled in YOLO",
                f"{yolo:.0f} images/s, {memory['yolo']:.0f} MB",
                f"{voc:.0f} images/s (Pascal VOC)",
                f"{yolo / voc:.2f} times",
                f"{LEAST_YOLO:g} times",
                yolo / voc >= LEAST_YOLO,
            ),
            _memory("peak memory with Pascal VOC, every image decoded", memory["voc, fully decoded"], MOST_VOC_MEGABYTES),
        ]
        page = answer(run([sys.executable, CHILD, folder / "voc", folder / "output"]))["seconds"]
        shutil.rmtree(folder / "output")
        asked = f"{MOST_PAGE_SECONDS:g} s"
        result.rows.append(Row(f"health page of {count:,} images", f"{page:.2f} s", "", "", asked, page <= MOST_PAGE_SECONDS))
        boxes = make_large_coco(folder, count, megabytes)
        measured("large COCO", [*BOXCAR, "records", "--data", str(folder / "coco"), "--no-full-decode", "--output", "{}"])
        what = f"peak memory with a COCO file of {megabytes / 1000:g} GB, {boxes:,} boxes with outlines"
        result.rows.append(_memory(what, memory["large COCO"], MOST_MEGABYTES))
    size = f"{SIZE[0]}×{SIZE[1]}, {total / count / 1000:.0f} kB each"
    decoded = count / median(rates["voc, fully decoded"])
    result.notes = [
        f"The images are JPEGs of {size}, with four boxes each. Both sides run as whole commands, alternating "
        f"({repetitions} of each), and Boxcar with `--no-full-decode`, because Model Garden decodes nothing. The figure is "
        "the median. Model Garden's side is `create_coco_tf_record` on the same boxes in COCO's JSON, the converter that "
        "its package has. Boxcar is compared with the better of its rates with one process and with two more.",
        f"Fully decoded, the same images take {decoded:.0f} s. Memory is the largest sum over all processes, in which "
        "shared pages count once.",
    ]
    return result


def _memory(what: str, megabytes: float, most: int) -> Row:
    return Row(what, f"{megabytes:.0f} MB", "", "", f"{most} MB", megabytes <= most)
