"""The content of the page, for the templates in this folder."""

import platform
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from boxcar.detectors.catalog import ARCHITECTURES
from boxcar.inference.drawing import SHOWN_SCORE
from boxcar.inference.specification import Specification
from boxcar.pages.environment import page_environment
from boxcar.report.advice import advise
from boxcar.report.charts import Chart, Line, line_chart
from boxcar.report.evidence import Dataset, Evidence
from boxcar.report.thumbnails import labeled_thumbnails, scored_thumbnails
from boxcar.run.layout import COMMIT, RECORDS

LABELED_IMAGES, SCORED_IMAGES = 8, 12
MOST_LISTED = 200  # faults or warnings; more are counted

# The use of each format.
PURPOSES = {
    "saved_model": "Servers and Python programs with TensorFlow; the other files are made from it.",
    "tflite_float32": "Phones and the Raspberry Pi, in full precision.",
    "tflite_float16": "Phones, at half the size; fast on phone GPUs.",
    "tflite_dynamic": "Phones and the Raspberry Pi: 8-bit weights, computed in float.",
    "tflite_int8": "Phones and the Raspberry Pi: 8-bit throughout, smallest and usually fastest.",
    "tflite_float32_nms": "Android’s task library and sample apps, in full precision. It returns boxes, not raw outputs.",
    "tflite_int8_nms": "Android’s task library and sample apps, smaller. It returns boxes, not raw outputs.",
    "tfjs_float32": "Web pages with TensorFlow.js, in full precision.",
    "tfjs_float16": "Web pages with TensorFlow.js, at half the download.",
    "tfjs_uint8": "Web pages with TensorFlow.js, at a quarter of the download.",
}

# The meaning of the gate's decisions.
DECIDED = {
    "promoted": "This run’s detector is the champion now.",
    "kept": "The champion stays: this run’s detector did not pass.",
    "undecided": "The champion stays: the test images do not show which one is better.",
}

STEP_TITLES = {
    "records": "Checking the images and writing the records",
    "train": "Training",
    "evaluate": "Scoring every checkpoint during training",
    "freeze": "Freezing the chosen checkpoint",
    "convert": "Converting, and checking each file",
}

_PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",  # the same under another name
    "tf-models-official",
    "tf-keras",
    "tensorflowjs",
    "ai-edge-litert",
    "numpy",
    "pillow",
)


def render(evidence: Evidence) -> str:
    """The page as HTML, with everything it needs.

    Raises:
        BoxcarError: 65 if the records do not contain the images that the scores were measured on.
    """
    environment = page_environment("boxcar.report")
    environment.filters |= {"score": score_text, "duration": duration_text}
    return environment.get_template("index.html.jinja").render(_content(evidence))


def software() -> dict[str, str]:
    """The versions of Python and of the important packages on this machine."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # the report needs no package that trains or converts
    return found


def _content(evidence: Evidence) -> dict[str, Any]:
    records = evidence.run / RECORDS
    labels = evidence.specification.labels
    trained = (evidence.committed["train"].folder / COMMIT).stat().st_mtime
    rates = [point.images_per_second for point in evidence.history if point.images_per_second]
    return {
        **vars(evidence),
        "title": f"Detector for {_listed(list(labels.values()))}",
        "run_name": evidence.run.resolve().name,
        "date": f"{datetime.fromtimestamp(trained, UTC):%B %-d, %Y}",
        "verdict": verdict(evidence.test.AP50),
        "advice": advise(evidence),
        "classes": _classes(evidence),
        "sizes": [
            ("Small", "under 32 × 32 pixels", evidence.test.AP_small),
            ("Medium", "up to 96 × 96 pixels", evidence.test.AP_medium),
            ("Large", "over 96 × 96 pixels", evidence.test.AP_large),
        ],
        "decided": DECIDED,
        "charts": _charts(evidence),
        "rate": sum(rates) / len(rates) if rates else None,
        "last_step": max((point.step for point in evidence.history), default=evidence.test.step),
        "extent": _extent(evidence.dataset, evidence.specification),
        "most_listed": MOST_LISTED,
        "labeled": labeled_thumbnails(sorted(records.glob("train-*.tfrecord")), labels, LABELED_IMAGES),
        "scored": scored_thumbnails(sorted(records.glob("test-*.tfrecord")), evidence.test.examples[:SCORED_IMAGES], labels),
        "shown_score": SHOWN_SCORE,
        "chosen_text": chosen_text(evidence.test.step, evidence.chosen_ap, evidence.chosen_on),
        "compared_on": compared_on(evidence.manifest.pictures),
        "demo_page": _demo_page(evidence),
        "purposes": PURPOSES,
        "training_seconds": evidence.training_seconds,
        "steps": [(title, evidence.committed[step]) for step, title in STEP_TITLES.items()],
        "software": software(),
    }


def _demo_page(evidence: Evidence) -> str | None:
    """The command that shows this run's detector in a browser; None if the run has no file for browsers.

    It has only the folder's name, so that it stays correct if the run is moved.
    """
    if not any(file.format.startswith("tfjs") for file in evidence.manifest.files):
        return None
    return f"boxcar demo-page --run {shlex.quote(evidence.run.resolve().name)}"


def compared_on(images: Mapping[str, int]) -> str:
    """The images that a score is of, as text, from the number of each split."""
    counts = [f"{count:,} {split}" for split, count in images.items() if count]
    if not counts:
        return "test images"
    only = len(counts) == 1 and next(count for count in images.values() if count) == 1
    return f"{' and '.join(counts)} {'image' if only else 'images'}"


def chosen_text(step: int, ap: float | None, images: Mapping[str, int]) -> str:
    """Which checkpoint was chosen and why, as a clause.

    Args:
        step: its step.
        ap: its AP on the images that chose it; None if they contain no object, and then it is the last one.
        images: how many images of each split those are.
    """
    if ap is None:
        return f"the checkpoint of step {step:,} was chosen, the last one, because no validation image contains an object"
    return f"the checkpoint of step {step:,} was chosen by its AP of {score_text(ap)} on {compared_on(images)}"


def run_texts(record: Mapping[str, Any]) -> tuple[str, str, str]:
    """What the figures of a `run.json` are of: the heading of its scores, how its checkpoint was chosen, and the images that
    the exported files were run on. An earlier version of Boxcar did not write that."""
    scored, chosen, step = record.get("scored_on", {}).get("test"), record.get("chosen"), record["checkpoint_step"]
    heading = "Scores on the test images" + (f" ({scored:,})" if scored else "")
    how = f"the checkpoint of step {step:,} was chosen" if chosen is None else chosen_text(step, chosen["AP"], chosen["on"])
    return heading, how, compared_on(record.get("compared_on", {}))


def verdict(ap50: float | None) -> str:
    """One sentence about how good a detector with this AP50 is."""
    if ap50 is None:
        return "The test images contain no labeled object, so the accuracy is unknown."
    for least, sentence in (
        (0.95, "It detects nearly every object in images it has never seen."),
        (0.85, "It detects most objects in images it has never seen, with few mistakes."),
        (0.6, "It is usable with care: it detects many objects in new images, and misses or confuses some."),
        (0.3, "It has started to learn: it detects some objects in new images and misses many."),
        (0.1, "It is weak: it misses most objects in new images."),
    ):
        if ap50 >= least:
            return sentence
    return "It detects almost nothing in new images yet."


def _extent(dataset: Dataset, specification: Specification) -> str | None:
    """The sizes of the images, of the objects in them, and of the anchors if they are not the architecture's, as text."""
    image_size, anchors = specification.image_size, specification.anchors
    row = ARCHITECTURES.get(specification.architecture)
    width, height, box = dataset.picture_width, dataset.picture_height, dataset.relative_box_size
    if width is None or height is None:
        return None
    if (width.min, height.min) == (width.max, height.max):
        text = f"All images are {width.median:.0f} × {height.median:.0f} pixels."
    else:
        text = (
            f"The images are {width.min:.0f} to {width.max:.0f} pixels wide and {height.min:.0f} to {height.max:.0f} high, "
            f"typically {width.median:.0f} × {height.median:.0f}."
        )
    if box is not None and box.max > 0:
        text += (
            f" A typical object takes up {box.median:.0%} of the image’s side, about {box.median * image_size:.0f} pixels at "
            f"the network’s input. The smallest takes up {box.min * image_size:.0f} pixels there."
        )
    if row is not None and anchors != row.anchors:
        text += (
            f" The detector’s anchors start at {anchors.smallest_side:g} pixels, the architecture’s own at "
            f"{row.anchors.smallest_side:g}."
        )
    return text


def _classes(evidence: Evidence) -> list[dict[str, Any]]:
    """The rows of the table of classes, in the label map's order."""
    train = evidence.dataset.splits["train"].per_class
    return [
        {"name": name, "AP": score.AP, "AP50": score.AP50, "boxes": score.boxes, "train_boxes": train.get(name, 0)}
        for name, score in evidence.test.per_class.items()
    ]


def _charts(evidence: Evidence) -> list[tuple[Chart, str]]:
    """The charts of this run, each with its caption."""
    history, scores = evidence.history, evidence.scores
    chosen, mark = evidence.chosen, None
    if chosen is not None and chosen.AP is not None:
        mark = (chosen.step, chosen.AP, f"chosen: step {chosen.step:,}, AP {chosen.AP:.2f}")

    def line(name: str, field: str, style: str, rows: Any = history) -> Line:
        pairs = [(row.step, getattr(row, field)) for row in rows]
        return Line(name, [(float(step), value) for step, value in pairs if value is not None], style)

    found = [
        (
            line_chart(
                "Accuracy on validation images",
                [line("AP50", "AP50", "two", scores), line("AP", "AP", "one", scores)],
                y_range=(0, 1),
                mark=mark,
            ),
            "Every checkpoint is scored on images that are not used for training. The one with the highest AP is chosen.",
        ),
        (
            line_chart(
                "Training loss",
                [
                    line("total", "loss", "one"),
                    line("classification", "classification_loss", "two"),
                    line("localization", "localization_loss", "three"),
                ],
                logarithmic=True,
            ),
            "The error on the training images, and its two parts: the class of an object and the position of its box.",
        ),
        (
            line_chart("Learning rate", [line("learning rate", "learning_rate", "one")]),
            "The size of the training steps: a warm-up, then a decay.",
        ),
    ]
    return [(chart, caption) for chart, caption in found if chart is not None]


def score_text(value: float | None) -> str:
    """A score such as 0.962, or the reason why there is none."""
    return "no objects" if value is None else f"{value:.3f}"


def duration_text(seconds: float) -> str:
    """Seconds as 42 s, 2 min 31 s, or 1 h 20 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _listed(names: list[str]) -> str:
    """ "circle, square, and triangle", or the number of classes."""
    if len(names) > 4:
        return f"{len(names)} classes"
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])}, and {names[-1]}"
