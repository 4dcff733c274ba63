"""Outlines, sizes and masks of shapes."""

import numpy as np
from PIL import Image, ImageDraw

Array = np.ndarray


def power_law(rng: np.random.Generator, smallest: float, largest: float) -> float:
    """A random size with density proportional to r^-3, the scale-invariant law of the dead leaves model."""
    quantile = rng.random()
    return float((smallest**-2 * (1 - quantile) + largest**-2 * quantile) ** -0.5)


def outline(rng: np.random.Generator, radius: float) -> Array:
    """The corners (n, 2) of a random shape around the origin: disc, ellipse, polygon, wavy blob, bar or leaf."""
    kind = rng.choice(["disc", "ellipse", "polygon", "blob", "bar", "leaf"], p=[0.14, 0.14, 0.24, 0.26, 0.12, 0.1])
    if kind == "polygon":
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
    else:
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radii = np.full(angles.shape, radius)
    if kind == "blob":
        for harmonic in range(2, 7):
            radii = radii * (1 + rng.normal(0, 0.25) / harmonic * np.cos(harmonic * angles + rng.uniform(0, 7)))
    x, y = radii * np.cos(angles), radii * np.sin(angles)
    if kind == "ellipse":
        y = y * rng.uniform(0.2, 0.8)
    if kind == "leaf":
        y = y * rng.uniform(0.2, 0.6) * (1 - np.abs(np.cos(angles)) ** 3)
    if kind == "bar":
        x, y = np.array([-1, 1, 1, -1]) * radius * 2, np.array([-1, -1, 1, 1]) * radius * rng.uniform(0.03, 0.4)
    return rotated(np.stack([x, y], 1), rng.uniform(0, 2 * np.pi))


def rotated(points: Array, angle: float) -> Array:
    """Points (n, 2) rotated around the origin by `angle` radians."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])


def curve(rng: np.random.Generator, start: Array, step: Array, bend: float, count: int = 12) -> Array:
    """The points (count + 1, 2) of a line that bends by about `bend` radians per step; its steps get shorter."""
    points = [start]
    for _ in range(count):
        step = rotated(step[None], bend + rng.normal(0, 0.03))[0] * 0.93
        points.append(points[-1] + step)
    return np.stack(points)


def pairs(points: Array) -> list[tuple[float, float]]:
    """Points (n, 2) as Pillow takes them."""
    return [(float(x), float(y)) for x, y in points]


def mask(corners: Array, size: int) -> tuple[Array, tuple[slice, slice]] | None:
    """The antialiased mask (h, w) of a polygon, in [0, 1], and its rows and columns in a size × size image; None for a
    polygon outside of the image."""
    left, top = np.floor(np.clip(corners.min(0) - 1, 0, size)).astype(int)
    right, bottom = np.ceil(np.clip(corners.max(0) + 1, 0, size)).astype(int)
    if right - left < 1 or bottom - top < 1:
        return None
    large = Image.new("L", (3 * int(right - left), 3 * int(bottom - top)))
    ImageDraw.Draw(large).polygon(pairs((corners - [left, top]) * 3), fill=255)
    return np.asarray(large.reduce(3), np.float32) / 255, (slice(top, bottom), slice(left, right))
