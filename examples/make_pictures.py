"""Make the example pictures: `python examples/make_pictures.py FOLDER`.

spheres.png is ray traced (after Whitted 1980, with shadows and one reflection); cat.png is a drawing in flat colors.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Array = np.ndarray
# center, radius, color, fraction of light that is reflected
SPHERES = [
    ((-1.25, 0.75, 4.6), 0.75, (0.8, 0.08, 0.06), 0.16),
    ((0.25, 1.0, 5.6), 1.0, (0.95, 0.93, 0.9), 0.55),
    ((1.35, 0.5, 3.7), 0.5, (0.03, 0.2, 0.65), 0.2),
    ((-0.25, 0.3, 3.2), 0.3, (0.95, 0.6, 0.05), 0.15),
    ((2.7, 0.85, 6.4), 0.85, (0.06, 0.4, 0.14), 0.15),
]
SUN = np.array([-0.55, 0.7, -0.45]) / np.linalg.norm([-0.55, 0.7, -0.45])


def spheres(width: int = 512, height: int = 384) -> Image.Image:
    """Five spheres on a tiled floor under an evening sky."""
    scale = 3  # rendered three times as large, then averaged
    x, y = np.meshgrid(np.linspace(-1, 1, width * scale), np.linspace(0.75, -0.75, height * scale))
    rays = np.stack([x.ravel(), y.ravel() - 0.16, np.full(x.size, 1.5)], axis=1)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    light = trace(np.tile([0.0, 1.25, -0.6], (len(rays), 1)), rays, bounces=2)
    pixels = np.clip(light, 0, 1).reshape(height * scale, width * scale, 3) ** (1 / 1.8) * 255
    return Image.fromarray(pixels.astype(np.uint8)).reduce(scale)


def trace(origin: Array, ray: Array, bounces: int) -> Array:
    """The linear light (n, 3) that arrives along n rays."""
    distance, index = nearest(origin, ray)
    color = sky(ray)
    for number in range(-1, len(SPHERES)):
        hit = (index == number) & np.isfinite(distance)
        if not hit.any():
            continue
        point = origin[hit] + ray[hit] * distance[hit, None]
        if number < 0:  # the floor
            tiles = (np.floor(point[:, 0] * 1.2) + np.floor(point[:, 2] * 1.2)) % 2
            surface = np.where(tiles[:, None] > 0, (0.55, 0.5, 0.44), (0.18, 0.13, 0.12))
            normal, shine = np.tile([0.0, 1.0, 0.0], (len(point), 1)), 0.12
        else:
            center, radius, paint, shine = SPHERES[number]
            normal, surface = (point - center) / radius, np.tile(paint, (len(point), 1))
        shadow = np.isfinite(nearest(point + normal * 1e-4, np.tile(SUN, (len(point), 1)))[0])
        sun = np.clip(normal @ SUN, 0, 1) * ~shadow
        lit = surface * (0.2 * (0.6 + 0.4 * normal[:, 1:2]) + sun[:, None] * np.array([1.0, 0.86, 0.66]))
        if bounces:
            mirrored = ray[hit] - 2 * (ray[hit] * normal).sum(1, keepdims=True) * normal
            lit = lit * (1 - shine) + shine * trace(point + normal * 1e-4, mirrored, bounces - 1)
            glint = np.clip(mirrored @ SUN, 0, 1) ** 60 * ~shadow * (number >= 0)
            lit = lit + glint[:, None] * 0.9
        haze = np.clip(distance[hit, None] / 110, 0, 1)
        color[hit] = lit * (1 - haze) + sky(ray[hit] * [1, 0, 1]) * haze
    return color


def nearest(origin: Array, ray: Array) -> tuple[Array, Array]:
    """The distance (n,) to what each ray hits first, infinite if nothing, and its number (n,), -1 for the floor."""
    with np.errstate(divide="ignore", invalid="ignore"):
        floor = -origin[:, 1] / ray[:, 1]
    best = np.where(floor > 1e-3, floor, np.inf)
    index = np.full(len(ray), -1)
    for number, (center, radius, _, _) in enumerate(SPHERES):
        away = origin - center
        half = (away * ray).sum(1)
        root = half**2 - (away**2).sum(1) + radius**2
        distance = -half - np.sqrt(np.maximum(root, 0))
        closer = (root > 0) & (distance > 1e-3) & (distance < best)
        best, index = np.where(closer, distance, best), np.where(closer, number, index)
    return best, index


def sky(ray: Array) -> Array:
    """The color (n, 3) of the sky along n rays: orange at the horizon, blue above, a glow around the sun."""
    up = np.clip(ray[:, 1:2] * 1.6, 0, 1) ** 0.6
    glow = np.clip(ray @ SUN, 0, 1)[:, None] ** 8
    color: Array = np.array([0.92, 0.45, 0.2]) * (1 - up) + np.array([0.06, 0.2, 0.5]) * up + glow * [0.5, 0.4, 0.2]
    return color


def cat(size: int = 384) -> Image.Image:
    """A cat on a sill at night, in flat colors with dark outlines."""
    unit = size * 3 / 100
    canvas = Image.new("RGB", (size * 3, size * 3), (38, 44, 92))
    pen = ImageDraw.Draw(canvas)
    ink, fur, light = (28, 22, 34), (236, 146, 62), (252, 220, 176)

    def oval(x: float, y: float, rx: float, ry: float, fill: tuple[int, int, int], line: bool = True) -> None:
        box = [(x - rx) * unit, (y - ry) * unit, (x + rx) * unit, (y + ry) * unit]
        pen.ellipse(box, fill=fill, outline=ink if line else None, width=round(unit))

    def shape(points: list[tuple[float, float]], fill: tuple[int, int, int]) -> None:
        scaled = [(x * unit, y * unit) for x, y in points]
        pen.polygon(scaled, fill=fill)
        pen.line([*scaled, scaled[0], scaled[1]], fill=ink, width=round(unit), joint="curve")

    for x, y in [(12, 14), (30, 8), (88, 40), (8, 48), (92, 12), (22, 34)]:
        oval(x, y, 0.7, 0.7, (250, 244, 200), line=False)
    oval(76, 20, 11, 11, (250, 240, 190), line=False)
    oval(72, 17, 10, 10, (38, 44, 92), line=False)
    shape([(-2, 84), (102, 84), (102, 102), (-2, 102)], (120, 70, 66))
    pen.arc([47 * unit, 55 * unit, 89 * unit, 89 * unit], 262, 112, fill=ink, width=round(9 * unit))
    pen.arc([48 * unit, 56 * unit, 88 * unit, 88 * unit], 260, 112, fill=fur, width=round(7 * unit))
    oval(48, 72, 23, 19, fur)
    oval(48, 77, 12, 13, light, line=False)
    shape([(28, 44), (26, 16), (44, 30)], fur)
    shape([(68, 44), (70, 16), (52, 30)], fur)
    shape([(31, 36), (29.5, 23), (38, 30)], (240, 160, 160))
    shape([(65, 36), (66.5, 23), (58, 30)], (240, 160, 160))
    oval(48, 43, 23, 18, fur)
    for x in (39, 57):
        oval(x, 41, 5.2, 6.2, (140, 200, 90))
        oval(x, 41, 1.9, 5, ink, line=False)
        oval(x - 1.2, 38.5, 1.3, 1.3, (255, 255, 255), line=False)
    oval(48, 51, 9, 6, light, line=False)
    shape([(46, 48), (50, 48), (48, 50.5)], (200, 80, 90))
    pen.arc([42 * unit, 47 * unit, 48 * unit, 55 * unit], 10, 150, fill=ink, width=round(unit * 0.8))
    pen.arc([48 * unit, 47 * unit, 54 * unit, 55 * unit], 30, 170, fill=ink, width=round(unit * 0.8))

    def stroke(x: float, y: float, to_x: float, to_y: float, fill: tuple[int, int, int], width: float) -> None:
        for left, right in ((x, to_x), (96 - x, 96 - to_x)):  # and mirrored
            pen.line([(left * unit, y * unit), (right * unit, to_y * unit)], fill=fill, width=round(width * unit))

    for dy in (-2, 1, 4):
        stroke(30, 51 + dy * 1.4, 41, 51 + dy * 0.5, ink, 0.5)
    for x in (40, 56):
        oval(x, 86, 7, 5, light)
    for y in (59, 64, 69):
        stroke(29.5, y + 4.5, 33, y + 6, (176, 92, 34), 1.6)
    return canvas.reduce(3)


def mask() -> Image.Image:
    """A white ellipse on black with a soft edge, about as large as the cat's head: 256 × 256."""
    canvas = Image.new("L", (256, 256), 0)
    ImageDraw.Draw(canvas).ellipse((60, 50, 190, 190), fill=255)
    return canvas.filter(ImageFilter.GaussianBlur(8))


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "examples")
    spheres().save(folder / "spheres.png", optimize=True)
    cat().save(folder / "cat.png", optimize=True)
    mask().save(folder / "mask.png", optimize=True)
