"""One image of the data set: shapes on a background, with their masks and tight boxes."""

import colorsys
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from boxcar.shapes.background import Floats, draw_background, octave_noise

CLASSES = ("circle", "square", "triangle")
SMALLEST, LARGEST = 0.18, 0.45  # a box's longer side, as a share of the image's
COVERED = 0.4  # the maximum share of a box that is in other boxes, and of a shape that is behind others
_CIRCLE_CORNERS = 64  # of a circle's outline
MARGIN = 2  # pixels between shapes and the image's edges

Box = tuple[int, int, int, int]  # xmin, ymin, xmax, ymax in pixels; xmax and ymax are one more than the last pixel


@dataclass(frozen=True)
class Shape:
    """A shape in an image: `mask` is bool [height, width], the whole shape, including what another one covers."""

    label: str
    box: Box
    mask: npt.NDArray[np.bool_]
    outline: npt.NDArray[np.float64]  # [N, 2]: x and y of the corners in pixels, of the whole shape


@dataclass(frozen=True)
class Scene:
    """An image, uint8 [size, size, 3], and its shapes, the farthest first."""

    pixels: npt.NDArray[np.uint8]
    shapes: tuple[Shape, ...]


def draw_scene(rng: np.random.Generator, size: int, labels: list[str]) -> Scene:
    """Draws one image with one shape for each of `labels`."""
    coverages, boxes, outlines = _place(rng, size, labels)
    canvas = draw_background(rng, size)
    light = _unit(rng.uniform(0, 2 * np.pi))
    shapes = []
    for label, coverage, box, outline in zip(labels, coverages, boxes, outlines, strict=True):
        _paint(rng, canvas, coverage, box, light)
        shapes.append(Shape(label, box, coverage >= 0.5, outline))
    return Scene(_photograph(rng, canvas), tuple(shapes))


def _place(
    rng: np.random.Generator, size: int, labels: list[str]
) -> tuple[list[Floats], list[Box], list[npt.NDArray[np.float64]]]:
    """Coverage maps, float32 [size, size], 0 to 1, boxes, and outlines [N, 2], so placed that every shape is visible enough."""
    coverages: list[Floats] = []
    boxes: list[Box] = []
    outlines: list[npt.NDArray[np.float64]] = []
    tries = 0
    while len(boxes) < len(labels):
        # If large shapes leave no room, smaller ones are tried; after 100 tries, all shapes are placed again.
        tries += 1
        if tries % 100 == 0:
            coverages, boxes, outlines = [], [], []
        largest = max(SMALLEST, LARGEST - 0.01 * (tries % 100) / len(labels))
        extent = size * rng.uniform(SMALLEST, largest)
        angle = rng.uniform(-np.pi / 12, np.pi / 12)
        room = size - extent - 2 * MARGIN - 2
        corner = MARGIN + 1 + rng.uniform(0, 1, 2) * room
        coverage, box, outline = _outline(labels[len(boxes)], corner, extent, angle, size)
        if not _side_by_side([*boxes, box]) or not _visible([*coverages, coverage]):
            continue
        coverages.append(coverage)
        boxes.append(box)
        outlines.append(outline)
    return coverages, boxes, outlines


def _side_by_side(boxes: list[Box]) -> bool:
    """Whether no box shares more than `COVERED` of its area with the others."""
    edges = np.array(boxes, np.float64)
    low, high = np.maximum(edges[:, None, :2], edges[None, :, :2]), np.minimum(edges[:, None, 2:], edges[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = shared.diagonal()
    return bool(((shared.sum(axis=1) - areas) / areas <= COVERED).all())


def _visible(coverages: list[Floats]) -> bool:
    """Whether those in front hide at most `COVERED` of each shape; the last is the nearest."""
    in_front = np.zeros(coverages[0].shape, bool)
    for coverage in reversed(coverages):
        mask = coverage >= 0.5
        if np.count_nonzero(mask & in_front) > COVERED * np.count_nonzero(mask):
            return False
        in_front |= mask
    return True


def _outline(
    label: str, corner: npt.NDArray[np.float64], extent: float, angle: float, size: int
) -> tuple[Floats, Box, npt.NDArray[np.float64]]:
    """A shape turned by `angle` whose box has its upper left corner at `corner` and a longer side of `extent` pixels.

    The coverage is computed from the signed distance to the outline, so that edges are smooth.
    """
    centers = np.arange(size, dtype=np.float32) + 0.5
    if label == "circle":
        radius = extent / 2
        x, y = centers - (corner[0] + radius), centers - (corner[1] + radius)
        distance = np.hypot(x[None, :], y[:, None]) - radius
        spokes = np.arange(_CIRCLE_CORNERS) * 2 * np.pi / _CIRCLE_CORNERS
        points = corner + radius + radius * np.stack([np.cos(spokes), np.sin(spokes)], axis=1)
    else:
        # A triangle's angles vary a little through a squeeze along one axis; a square stays one.
        spokes = np.arange(4) * np.pi / 2 + np.pi / 4 if label == "square" else np.arange(3) * 2 * np.pi / 3 - np.pi / 2
        points = np.stack([np.cos(spokes + angle), np.sin(spokes + angle)], axis=1)
        points -= points.min(axis=0)
        points = points * extent / points.max() + corner
        following = np.roll(points, -1, axis=0)
        along = (following - points) / np.linalg.norm(following - points, axis=1, keepdims=True)
        # Clockwise on the screen: the outward normal is (dy, -dx). On the outline, the largest distance is zero.
        sides = [
            (centers[None, :] - px) * dy - (centers[:, None] - py) * dx
            for (px, py), (dx, dy) in zip(points, along, strict=True)
        ]
        distance = np.maximum.reduce(sides)
    coverage = np.clip(0.5 - distance, 0, 1).astype(np.float32)
    rows, columns = np.flatnonzero((coverage >= 0.5).any(axis=1)), np.flatnonzero((coverage >= 0.5).any(axis=0))
    return coverage, (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1), points


def _paint(rng: np.random.Generator, canvas: Floats, coverage: Floats, box: Box, light: Floats) -> None:
    """Draws a shape into the image: its shadow, then its body lit from the direction of `light`."""
    size = len(canvas)
    left, top, right, bottom = box
    extent = max(right - left, bottom - top)
    spread = rng.uniform(0.02, 0.09) * extent
    reach = int(3 * spread + 0.1 * extent) + 2
    x0, y0, x1, y1 = max(0, left - reach), max(0, top - reach), min(size, right + reach), min(size, bottom + reach)
    area, body = canvas[y0:y1, x0:x1], coverage[y0:y1, x0:x1]

    offset = -light * np.float32(rng.uniform(0.02, 0.08) * extent)
    shadow = Image.fromarray((body * 255).astype(np.uint8))
    shift = (1, 0, -float(offset[0]), 0, 1, -float(offset[1]))
    shadow = shadow.transform(shadow.size, Image.Transform.AFFINE, shift, Image.Resampling.BILINEAR)
    shade = np.asarray(shadow.filter(ImageFilter.GaussianBlur(spread)), np.float32) / 255
    area *= 1 - np.float32(rng.uniform(0.25, 0.6)) * shade[..., None]

    color = _color(rng, area[body > 0.5].mean(axis=0))
    x = (np.arange(x0, x1, dtype=np.float32) + 0.5 - (left + right) / 2) / (extent / 2)
    y = (np.arange(y0, y1, dtype=np.float32) + 0.5 - (top + bottom) / 2) / (extent / 2)
    towards = x[None, :] * light[0] + y[:, None] * light[1]
    grain = octave_noise(rng, max(y1 - y0, x1 - x0), 3, 0.7)[: y1 - y0, : x1 - x0]
    lit = 1 + np.float32(rng.uniform(0.08, 0.32)) * towards + np.float32(rng.uniform(0.01, 0.06)) * grain
    gloss = np.exp(-((x[None, :] - 0.4 * light[0]) ** 2 + (y[:, None] - 0.4 * light[1]) ** 2) / 0.12)
    painted = color * lit[..., None] + np.float32(rng.choice([0.0, rng.uniform(0.05, 0.35)])) * gloss[..., None]
    area += (painted - area) * body[..., None]


def _color(rng: np.random.Generator, around: Floats) -> Floats:
    """A color that a person can distinguish from the one around it, sRGB, 0 to 1."""
    while True:
        hue, saturation, value = rng.random(), rng.uniform(0.35, 0.95), rng.uniform(0.35, 0.98)
        color = np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32)
        if np.abs(color - around).sum() > 0.45:
            return color


def _photograph(rng: np.random.Generator, canvas: Floats) -> npt.NDArray[np.uint8]:
    """Adds what a camera adds: a color cast, exposure, a soft lens, sensor noise."""
    canvas = canvas * rng.uniform(0.92, 1.08, 3).astype(np.float32) * np.float32(rng.uniform(0.85, 1.12))
    image = Image.fromarray((np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8))
    softness = rng.uniform(0.3, 0.9) * len(canvas) / 256
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(softness)), np.float32)
    noise = rng.standard_normal(canvas.shape, dtype=np.float32)
    # The channels share part of their noise, as behind a color filter.
    noise += 1.2 * noise[..., 1:2]
    pixels = pixels + noise * np.float32(rng.uniform(0.6, 3.2))
    return cast("npt.NDArray[np.uint8]", np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


def _unit(angle: float) -> Floats:
    return np.array([np.cos(angle), np.sin(angle)], np.float32)
