"""Backgrounds that look like blurry photographs: colored noise, a horizon, grain, clutter, uneven light.

On flat backgrounds, a detector would learn "anything that is not gray". On these, it must learn outlines.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Floats = npt.NDArray[np.float32]

# Colors of a place from its shadows to its lights, sRGB, 0 to 255.
PLACES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "sky": ((84, 118, 152), (133, 166, 196), (178, 199, 214), (222, 228, 228)),
    "evening sky": ((72, 74, 104), (139, 116, 128), (206, 160, 138), (240, 206, 164)),
    "cloud": ((112, 118, 124), (154, 159, 164), (190, 193, 194), (226, 226, 222)),
    "foliage": ((24, 34, 20), (56, 74, 36), (98, 118, 58), (158, 168, 98)),
    "dry grass": ((62, 54, 32), (118, 104, 62), (164, 148, 96), (206, 190, 140)),
    "soil": ((40, 31, 25), (82, 65, 51), (122, 101, 82), (168, 148, 126)),
    "sand": ((128, 108, 84), (172, 150, 120), (204, 184, 152), (230, 216, 190)),
    "asphalt": ((44, 46, 50), (76, 78, 82), (108, 109, 110), (146, 146, 144)),
    "wood": ((54, 33, 20), (104, 68, 42), (150, 106, 68), (194, 152, 108)),
    "plaster": ((136, 130, 120), (178, 172, 160), (206, 201, 190), (232, 229, 220)),
    "brick": ((66, 38, 31), (116, 70, 56), (152, 100, 82), (190, 146, 124)),
    "cloth": ((34, 42, 58), (66, 78, 98), (104, 116, 134), (156, 164, 174)),
    "water": ((26, 48, 56), (58, 88, 96), (98, 130, 134), (164, 186, 184)),
}
FAR = ("sky", "evening sky", "cloud", "foliage", "plaster", "brick", "cloth")
NEAR = ("foliage", "dry grass", "soil", "sand", "asphalt", "wood", "plaster", "cloth", "water")


def draw_background(rng: np.random.Generator, size: int) -> Floats:
    """A background of `size` x `size` pixels: float32 [size, size, 3], sRGB, 0 to 1."""
    # At half the size, because it is out of focus, and so that hundreds of images take only seconds.
    half = size // 2
    canvas = _surface(rng, half, FAR)
    if rng.random() < 0.75:
        below = _below_horizon(rng, half)[..., None]
        canvas += (_surface(rng, half, NEAR) - canvas) * below
    canvas = _clutter(rng, canvas)
    canvas *= _light(rng, half)[..., None]
    return resize(np.clip(canvas, 0, 1), size, size)


def resize(values: Floats, height: int, width: int) -> Floats:
    """Bicubic resize of [height, width] or [height, width, channels], values of any range."""
    if values.ndim == 3:
        return np.stack([resize(values[..., c], height, width) for c in range(values.shape[2])], axis=-1)
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.float32)


def octave_noise(rng: np.random.Generator, size: int, cells: float, roughness: float, stretch: float = 1.0) -> Floats:
    """Noise of several octaves, float32 [size, size], mean 0, standard deviation 1.

    Args:
        rng: the source of random numbers.
        size: the side in pixels.
        cells: how many cells the coarsest octave has along a side; each further octave has twice as many.
        roughness: each octave's weight as a share of the one before.
        stretch: how many times longer the cells are along x than along y.
    """
    total = np.zeros((size, size), np.float32)
    weight = 1.0
    while cells <= size / 2:
        rows, columns = max(2, round(cells)), max(2, round(cells / stretch))
        total += weight * resize(rng.standard_normal((rows, columns), dtype=np.float32), size, size)
        cells *= 2
        weight *= roughness
    total -= total.mean()
    total /= max(float(total.std()), 1e-6)
    return total


def _surface(rng: np.random.Generator, size: int, places: tuple[str, ...]) -> Floats:
    """One place, seen flat: its tones spread by noise and by a gradient, float32 [size, size, 3]."""
    tones = np.array(PLACES[places[rng.integers(len(places))]], np.float32) / 255
    tones = tones * rng.uniform(0.88, 1.12, 3).astype(np.float32) + np.float32(rng.uniform(-0.05, 0.05))
    x, y = _axes(size)
    angle = rng.uniform(0, 2 * np.pi)
    gradient = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    noise = octave_noise(rng, size, rng.uniform(1.5, 5), rng.uniform(0.35, 0.75), rng.choice([1.0, 1.0, 3.0, 8.0]))
    height = rng.uniform(0.35, 0.65) + rng.uniform(0.1, 0.45) * gradient + rng.uniform(0.08, 0.2) * noise
    steps = np.linspace(0, 1, len(tones))
    return np.stack([np.interp(height, steps, tones[:, c]) for c in range(3)], axis=-1).astype(np.float32)


def _below_horizon(rng: np.random.Generator, size: int) -> Floats:
    """How far each pixel belongs to the ground, 0 to 1, with a soft and uneven edge, float32 [size, size]."""
    x, y = _axes(size)
    rim = octave_noise(rng, size, rng.uniform(2, 6), 0.5) * np.float32(rng.uniform(0.0, 0.06))
    edge = y - np.float32(rng.uniform(-0.6, 0.5)) + np.float32(rng.uniform(-0.35, 0.35)) * x + rim
    return np.asarray(np.clip(0.5 + edge / np.float32(rng.uniform(0.03, 0.2)), 0, 1), np.float32)


def _clutter(rng: np.random.Generator, canvas: Floats) -> Floats:
    """Draws other things than the shapes over the background: stalks, bands, and ragged patches, out of focus."""
    size = len(canvas)
    places = tuple(PLACES)
    for _ in range(rng.integers(2, 6)):
        kind = rng.choice(["stalk", "stalk", "band", "patch", "patch"])
        if kind == "patch":
            # The peaks of a noise field have ragged outlines, unlike circles, squares, and triangles.
            field = octave_noise(rng, size, rng.uniform(1.5, 4), 0.55)
            mask = np.clip((field - np.float32(rng.uniform(0.9, 1.6))) * np.float32(rng.uniform(1, 4)), 0, 1)
        else:
            mask = _stroke(rng, size, wide=kind == "band")
        tones = PLACES[places[rng.integers(len(places))]]
        color = np.array(tones[rng.integers(len(tones))], np.float32) / 255
        mask = mask * np.float32(rng.uniform(0.45, 0.9))
        canvas = canvas + (color - canvas) * mask[..., None]
    blur = ImageFilter.GaussianBlur(rng.uniform(0.2, 1.6) * size / 128)
    image = Image.fromarray((np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8))
    return np.asarray(image.filter(blur), np.float32) / np.float32(255)


def _stroke(rng: np.random.Generator, size: int, *, wide: bool) -> Floats:
    """A crooked line from one side of the image toward the other, float32 [size, size], 0 to 1."""
    image = Image.new("L", (size, size))
    draw = ImageDraw.Draw(image)
    width = size * (rng.uniform(0.08, 0.2) if wide else rng.uniform(0.01, 0.045))
    angle = rng.uniform(0, 2 * np.pi)
    turn = rng.normal(0, 0.05 if wide else 0.2)
    point = np.array([0.5, 0.5]) * size - 0.8 * size * np.array([np.cos(angle), np.sin(angle)])
    point += rng.uniform(-0.4, 0.4, 2) * size
    points = [tuple(point)]
    for _ in range(14):
        angle += turn + rng.normal(0, 0.03 if wide else 0.12)
        point = point + 0.14 * size * np.array([np.cos(angle), np.sin(angle)])
        points.append(tuple(point))
    draw.line(points, fill=255, width=max(1, round(width)), joint="curve")
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2.5) * size / 128))
    return np.asarray(image, np.float32) / np.float32(255)


def _light(rng: np.random.Generator, size: int) -> Floats:
    """Uneven light: a soft spot and darker corners, factors around 1, float32 [size, size]."""
    x, y = _axes(size)
    cx, cy = rng.uniform(-1, 1, 2).astype(np.float32)
    spot = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / np.float32(rng.uniform(0.4, 2.5)))
    corners = (x**2 + y**2) * np.float32(rng.uniform(0.0, 0.16))
    light = rng.uniform(0.78, 1.0) + rng.uniform(0.05, 0.4) * spot - corners
    return np.asarray(light, np.float32)


def _axes(size: int) -> tuple[Floats, Floats]:
    """x as [1, size] and y as [size, 1], both from -1 to 1."""
    line = np.linspace(-1, 1, size, dtype=np.float32)
    return line[None, :], line[:, None]
