"""Photographic scenes: overlapping shapes, landscapes, people, streets, hair and grass, textures.

Every scene is (size, size, 3) from 0 to 255.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from latentflow.generated.shapes import curve, mask, outline, pairs, power_law, rotated
from latentflow.generated.surfaces import FAMILIES, Palette, color, noise, pattern, surface

Array = np.ndarray


def leaves(rng: np.random.Generator, size: int) -> Array:
    """The dead leaves model: overlapping shapes of power-law sizes, shaded, some with shadows or on a blurred
    background."""
    palette = Palette.random(rng)
    canvas = surface(rng, size, palette)
    surfaces = [surface(rng, size, palette) for _ in range(4)]
    smallest = size / rng.choice([12, 25, 60, 120])
    count = int(rng.integers(20, 120) * (1 if smallest > size / 30 else 3))
    focus = rng.integers(count) if rng.random() < 0.35 else -1
    shadows, light = rng.random() < 0.5, rng.uniform(0, 2 * np.pi)
    for index in range(count):
        if index == focus:  # the shapes so far are out of focus
            canvas = blurred(canvas, rng.uniform(1, 6))
        corners = outline(rng, power_law(rng, smallest, size / 1.8)) + rng.uniform(-0.1, 1.1, 2) * size
        fill = surfaces[rng.integers(4)] if rng.random() < 0.45 else palette.pick(rng)
        place(rng, canvas, corners, fill, light if rng.random() < 0.6 else None, shadow=shadows and index % 3 == 0)
    return canvas


def place(
    rng: np.random.Generator, canvas: Array, corners: Array, fill: Array, light: float | None, *, shadow: bool = False
) -> None:
    """Paint a shape into the canvas: shaded as if rounded with `light` from a direction in radians, flat with None."""
    size = canvas.shape[0]
    if shadow:
        offset = rng.normal(0, 4, 2)
        fallen = mask(corners + offset, size)
        if fallen:
            soft = Image.fromarray((fallen[0] * 255).astype(np.uint8)).filter(
                ImageFilter.GaussianBlur(rng.uniform(1, 6))
            )
            canvas[fallen[1]] *= 1 - 0.5 * (np.asarray(soft, np.float32) / 255)[..., None]
    found = mask(corners, size)
    if not found:
        return
    alpha, where = found
    color_ = fill[where] if fill.ndim == 3 else fill
    if light is not None:
        rows, columns = where
        center, reach = corners.mean(0), np.ptp(corners, axis=0) / 2 + 1
        u = (np.arange(columns.start, columns.stop) - center[0])[None, :] / reach[0]
        v = (np.arange(rows.start, rows.stop) - center[1])[:, None] / reach[1]
        lit = 0.75 * (u * np.cos(light) + v * np.sin(light)) - 0.35 * (u * u + v * v)
        color_ = np.clip(color_ * (1.05 + rng.uniform(0.1, 0.6) * lit)[..., None], 0, 255)
        if rng.random() < 0.1:  # a highlight
            spot = np.exp(-((u - 0.4 * np.cos(light)) ** 2 + (v - 0.4 * np.sin(light)) ** 2) / rng.uniform(0.01, 0.1))
            color_ = color_ + (255 - color_) * (0.8 * spot)[..., None]
    canvas[where] += (color_ - canvas[where]) * alpha[..., None]


def blurred(canvas: Array, radius: float) -> Array:
    """A canvas after a Gaussian blur of `radius` pixels."""
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(image, np.float64).copy()


def sky(rng: np.random.Generator, size: int) -> Array:
    """A sky with a vertical gradient, clear or with clouds."""
    y = np.linspace(0, 1, size)[:, None, None]
    top = np.array(color(rng, str(rng.choice(["sky", "sky", "dusk", "gray"]))), float)
    low = np.array(color(rng, str(rng.choice(["sky", "skin"]))), float)
    clouds = np.clip(noise(rng, size, rng.uniform(1.4, 2.2), 1 / rng.uniform(1, 3)) * rng.uniform(-0.1, 0.5), 0, 1)
    lit = rng.uniform(200, 250)
    return (top * (1 - y) + low * y) * (1 - clouds[..., None]) + lit * clouds[..., None]


def landscape(rng: np.random.Generator, size: int) -> Array:
    """A sky, overlapping ridges with haze, trees or poles, sometimes a reflection in water."""
    canvas = sky(rng, size)
    haze = canvas[-1, 0].copy()
    layers = int(rng.integers(2, 6))
    palette = Palette.random(rng, [str(rng.choice(["foliage", "foliage", "earth", "gray"])), "earth"])
    start = rng.uniform(0.25, 0.6)
    for layer in range(layers):
        nearness = (layer + 1) / layers
        height = noise(rng, size, rng.uniform(1.5, 2.4))[0] * rng.uniform(0.01, 0.1)
        ridge = (height + start + (1 - start) * layer / layers) * size
        corners = np.stack([np.arange(size, dtype=float), ridge], 1)
        corners = np.concatenate(
            [[[-1.0, size + 2.0], [-1.0, ridge[0]]], corners, [[size + 1.0, ridge[-1]], [size + 1.0, size + 2.0]]]
        )
        ground = surface(rng, size, palette)
        place(rng, canvas, corners, haze + (ground - haze) * (0.3 + 0.7 * nearness), None)
    for _ in range(rng.integers(0, 10)):  # trees and bushes: clumps of small leaves
        at, radius = rng.uniform(0, 1, 2) * size * [1, 0.5] + [0, size * 0.4], power_law(rng, size / 24, size / 4)
        hue = palette.pick(rng)
        for _ in range(int(rng.integers(5, 30))):
            spot = outline(rng, radius * rng.uniform(0.1, 0.4)) + at + rng.normal(0, radius * 0.45, 2)
            place(rng, canvas, spot, np.clip(hue * np.exp(rng.normal(0, 0.3)), 0, 255), None)
    for _ in range(rng.integers(0, 8)):  # trunks, poles, towers
        x, width = rng.uniform(0, size), power_law(rng, 1, size / 12)
        top, foot = rng.uniform(0.1, 0.6) * size, rng.uniform(0.65, 1) * size
        box = np.array([[x, top], [x + width, top], [x + width, foot], [x, foot]])
        place(rng, canvas, box, np.array(color(rng, str(rng.choice(["earth", "gray", "dusk"]))), float), 0.0)
    if rng.random() < 0.25:
        shore = int(rng.uniform(0.5, 0.85) * size)
        mirrored = canvas[:shore][::-1][: size - shore]
        ripple = 1 + 0.12 * noise(rng, size, rng.uniform(0.8, 1.4), 1 / rng.uniform(3, 8))[: len(mirrored), :, None]
        canvas[shore : shore + len(mirrored)] = blurred(mirrored * rng.uniform(0.5, 0.95) * ripple, rng.uniform(0.3, 2))
    return canvas


def portrait(rng: np.random.Generator, size: int) -> Array:
    """One to three people on a blurred background: shaded heads with hair, eyes, mouths, and clothes."""
    canvas = (leaves if rng.random() < 0.5 else landscape)(rng, size)
    canvas = blurred(canvas, rng.uniform(1, 10)) if rng.random() < 0.8 else canvas
    for _ in range(rng.integers(1, 4)):
        _person(rng, canvas, rng.uniform([0.2, 0.25], [0.8, 0.6]) * size, size * rng.uniform(0.08, 0.35))
    return canvas


def _person(rng: np.random.Generator, canvas: Array, at: Array, radius: float) -> None:
    size = canvas.shape[0]
    skin, hair = (
        np.array(color(rng, "skin"), float),
        np.array(color(rng, str(rng.choice(["earth", "dusk", "gray"]))), float),
    )
    light, tilt = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.2)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)

    def oval(x: float, y: float, rx: float, ry: float) -> Array:
        around = np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], 1)
        return rotated(around, tilt) * radius + at

    cloth = surface(rng, size, Palette.random(rng))
    wide = rng.uniform(1.4, 2.2)
    body = np.array([[-0.4, 0.7], [0.4, 0.7], [wide, 1.5], [wide, 6], [-wide, 6], [-wide, 1.5]]) * radius + at
    place(rng, canvas, body, cloth, light)
    place(rng, canvas, oval(0, 0.8, 0.4, 0.8), np.clip(skin * 0.8, 0, 255), light)
    place(rng, canvas, oval(0, -0.2, 0.95, 1.15), hair + noise(rng, size, 1.2, 6, np.pi / 2)[..., None] * 12, light)
    place(rng, canvas, oval(0, 0.05, 0.75, 1.0), skin + noise(rng, size, 1.8)[..., None] * 4, light)
    dark, apart = skin * rng.uniform(0.2, 0.6), rng.uniform(0.25, 0.38)
    for x in (-apart, apart):
        place(rng, canvas, oval(x, -0.22, 0.2, 0.05), hair * 0.7, None)
        place(rng, canvas, oval(x, -0.05, 0.15, 0.08), np.array([235.0, 230, 225]), None)
        place(rng, canvas, oval(x, -0.05, 0.07, 0.08), np.array(color(rng, "dusk"), float), None)
    place(rng, canvas, oval(rng.normal(0, 0.05), 0.25, 0.1, 0.18), skin * 0.85, light)
    place(rng, canvas, oval(0, 0.55, rng.uniform(0.15, 0.3), rng.uniform(0.03, 0.1)), dark * [1.2, 0.7, 0.7], None)
    if rng.random() < 0.25:
        place(rng, canvas, oval(0, -0.75, 0.95, 0.55), cloth, light)  # a hat


def street(rng: np.random.Generator, size: int) -> Array:
    """Fronts of buildings with rows of windows, seen at an angle, and a sky."""
    canvas = sky(rng, size)
    palette = Palette.random(rng, ["earth", "gray", str(rng.choice(list(FAMILIES)))])
    left = rng.uniform(-0.2, 0.1) * size
    while left < size:
        width, top = rng.uniform(0.15, 0.7) * size, rng.uniform(-0.1, 0.6) * size
        slope = rng.normal(0, 0.25)
        front = (
            surface(rng, size, palette) if rng.random() < 0.6 else np.broadcast_to(palette.pick(rng), (size, size, 3))
        )
        window, frame = palette.pick(rng, 0.8) * rng.uniform(0.2, 1), palette.pick(rng, 0.6)

        def quad(x0: float, x1: float, y0: float, y1: float, left: float = left, slope: float = slope) -> Array:
            return np.array(
                [[x, y + slope * (x - left) * (0.7 - y / size)] for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
            )

        place(rng, canvas, quad(left, left + width, top, 1.3 * size), front, None)
        if rng.random() < 0.5:
            place(rng, canvas, quad(left - 3, left + width + 3, top - rng.uniform(2, 12), top), frame, None)
        across, down = power_law(rng, 6, size / 4), power_law(rng, 8, size / 4)
        for x in np.arange(left + across * 0.3, left + width - across * 0.7, across):
            for y in np.arange(top + down * 0.3, size, down):
                pane = np.clip(window * np.exp(rng.normal(0, 0.25)), 0, 255)
                if across > 14:
                    place(
                        rng, canvas, quad(x - 1.5, x + across * 0.6 + 1.5, y - 1.5, y + down * 0.6 + 1.5), frame, None
                    )
                place(rng, canvas, quad(x, x + across * 0.6, y, y + down * 0.6), pane, None)
        left += width * rng.uniform(0.8, 1.2)
    for _ in range(rng.integers(0, 10)):  # wires, rails, edges
        ends = rng.uniform(-0.1, 1.1, (2, 2)) * size
        normal = rotated((ends[1] - ends[0])[None], np.pi / 2)[0]
        normal = normal / (np.hypot(*normal) + 1e-9) * rng.uniform(0.4, 2)
        place(
            rng, canvas, np.stack([ends[0], ends[1], ends[1] + normal, ends[0] + normal]), palette.pick(rng, 1.0), None
        )
    return canvas


def strands(rng: np.random.Generator, size: int) -> Array:
    """Hair, fur, grass or branches: hundreds of curved lines of similar direction, from dark to light."""
    palette = Palette.random(rng)
    large = Image.fromarray(surface(rng, size, palette).astype(np.uint8)).resize((2 * size, 2 * size))
    pen = ImageDraw.Draw(large)
    flow, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.6) * size
    width, spread, bend = power_law(rng, 1.5, 14), rng.uniform(0.05, 0.7), rng.normal(0, 0.08)
    hue = palette.pick(rng)
    count = int(rng.integers(150, 700))
    for index in range(count):
        angle = flow + rng.normal(0, spread)
        step = np.array([np.cos(angle), np.sin(angle)]) * length / 6
        shade = hue * (0.3 + 1.2 * index / count) * np.exp(rng.normal(0, 0.15))
        points = curve(rng, rng.uniform(-0.1, 1.1, 2) * 2 * size, step, bend, 10)
        fill = tuple(int(value) for value in np.clip(shade if rng.random() < 0.9 else palette.pick(rng), 0, 255))
        pen.line(pairs(points), fill=fill, width=max(1, round(width * rng.uniform(0.5, 1.5))), joint="curve")
    return np.asarray(large.reduce(2), np.float64).copy()


def texture(rng: np.random.Generator, size: int) -> Array:
    """Two surfaces, blended by noise or by a pattern."""
    if rng.random() < 0.7:
        alpha = np.clip(noise(rng, size, rng.uniform(1, 2.2)) * rng.uniform(0.3, 3) + 0.5, 0, 1)[..., None]
    else:
        alpha = pattern(rng, size, np.zeros(1), np.ones(1))
    return surface(rng, size, Palette.random(rng)) * alpha + surface(rng, size, Palette.random(rng)) * (1 - alpha)
