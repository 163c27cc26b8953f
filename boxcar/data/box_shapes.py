"""`box_shapes.json`: the sizes of the training split's boxes, so that nothing needs to read the shards for them.

{"train": {"raccoon": [[0.5, 0.3536, 12], ...]}}: for each class, rows of height, width, and the number of such boxes, in
ascending order. Sides are shares of the image's, rounded to a grid of eight steps per octave, so that 100,000 images need
hardly more rows than 1,000. Loads neither NumPy nor TensorFlow.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import BOX_SHAPES
from boxcar.storage import replace_text
from boxcar.storage.cache import uri_of

STEPS_PER_OCTAVE = 8
_MOST_STEPS = 16 * STEPS_PER_OCTAVE  # down to 1/65,536 of a side; a box that is less is counted as this

# Pixels of the input: the stride of the finest level. What is narrower than a cell of its map leaves little trace there.
NARROW = 8
MANY_NARROW = 0.25  # of a class's boxes

BoxShape = tuple[float, float, int]  # height and width in (0, 1], and the number of boxes, at least 1
BoxShapes = Mapping[str, Sequence[BoxShape]]  # of each class that has a box, by its name


def grid_steps(side: float) -> int:
    """How many steps of the grid a box's side, as a share of the image's, is below 1."""
    return min(max(round(-STEPS_PER_OCTAVE * math.log2(max(side, 2.0**-16))), 0), _MOST_STEPS)


def write_box_shapes(folder: Path, counts: Mapping[tuple[str, int, int], int]) -> None:
    """Writes the file into the records' folder.

    Args:
        folder: of the records.
        counts: the number of the training split's boxes by class, `grid_steps` of the height, and of the width.

    Raises:
        BoxcarError: 69 if it cannot be written.
    """
    rows: dict[str, list[str]] = {}
    for name, height, width in sorted(counts, key=lambda key: (key[0], -key[1], -key[2])):
        row = [_side(height), _side(width), counts[name, height, width]]
        rows.setdefault(name, []).append(f"      {json.dumps(row)}")
    # A row a line, which json.dumps cannot do.
    classes = [
        f"    {json.dumps(name, ensure_ascii=False)}: [\n" + ",\n".join(lines) + "\n    ]" for name, lines in rows.items()
    ]
    text = '{\n  "train": {' + "".join(["\n" + ",\n".join(classes) + "\n  "] if classes else []) + "}\n}\n"
    replace_text(folder / BOX_SHAPES, text)


def read_box_shapes(folder: Path) -> BoxShapes:
    """Reads the file in the records' folder; empty if there is none, as in records of earlier versions.

    Raises:
        BoxcarError: 65 if it is not valid.
    """
    path = folder / BOX_SHAPES
    try:
        classes = json.loads(path.read_text(encoding="utf-8"))["train"].items()
        return {str(name): [_checked(*row) for row in rows] for name, rows in classes}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BoxcarError(
            ExitCode.DATA, f"{uri_of(path)} does not list the sizes of boxes.", "Run `boxcar records` again for that folder."
        ) from error


def narrowest_class(shapes: BoxShapes, image_size: int) -> tuple[str, float] | None:
    """The class with the largest share of boxes whose shorter side has less than 8 pixels at an input of `image_size`.

    Returns:
        Its name and that share, in [0, 1]; None if it is less than a quarter.
    """
    narrow = {name: sum(row[2] for row in rows if min(row[:2]) * image_size < NARROW) for name, rows in shapes.items()}
    shares = [(narrow[name] / sum(row[2] for row in rows), name) for name, rows in shapes.items() if rows]
    share, name = max(shares, default=(0.0, ""))
    return (name, share) if share >= MANY_NARROW else None


def _checked(height: float, width: float, count: int) -> BoxShape:
    if not (0 < height <= 1 and 0 < width <= 1 and isinstance(count, int) and count > 0):
        raise ValueError("not a box")
    return height, width, count


def _side(steps: int) -> float:
    return float(f"{2 ** (-steps / STEPS_PER_OCTAVE):.4g}")
