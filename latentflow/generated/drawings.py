"""Drawings: flat colors in dark outlines, comic faces, hatching, screen tone, lettering.

Every drawing is (size, size, 3) from 0 to 255. It is drawn at twice the size and reduced, so that lines are smooth.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from latentflow.generated.shapes import curve, outline, pairs, power_law, rotated
from latentflow.generated.surfaces import FAMILIES, Color, Palette, color, surface

Array = np.ndarray
WHITE: Color = (255, 255, 255)
LETTERS = list("abcdefghijklmnopqrstuvwxyz     ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?&%")


class Pen:
    """A sheet of twice the size, with a random ink, line width and set of colors."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng, self.side = rng, 2 * size
        if rng.random() < 0.5:
            paper = WHITE if rng.random() < 0.4 else color(rng)
            self.sheet = Image.new("RGB", (self.side, self.side), paper)
        else:
            background = surface(rng, size, Palette.random(rng)).astype(np.uint8)
            self.sheet = Image.fromarray(background).resize((self.side, self.side), Image.Resampling.BILINEAR)
        self.draw = ImageDraw.Draw(self.sheet)
        dark = rng.integers(0, 70, 3)
        self.ink: Color = (0, 0, 0) if rng.random() < 0.4 else (int(dark[0]), int(dark[1]), int(dark[2]))
        self.width = int(rng.choice([1, 2, 2, 3, 3, 4, 5, 7]))
        self.colors = [color(rng) for _ in range(rng.integers(3, 8))]

    def any(self) -> Color:
        """A random one of the colors."""
        return self.colors[self.rng.integers(len(self.colors))]

    def shape(self, corners: Array, fill: Color | None, *, outlined: bool = True) -> None:
        """Draw a polygon, filled unless `fill` is None."""
        points = pairs(corners)
        if fill is not None:
            self.draw.polygon(points, fill=fill)
        if outlined:
            self.line([*points, points[0]])

    def line(self, points: list[tuple[float, float]], ink: Color | None = None, width: int | None = None) -> None:
        """Draw a line, in the pen's ink and width unless others are given."""
        self.draw.line(points, fill=ink or self.ink, width=width or self.width, joint="curve")

    def done(self) -> Array:
        """The sheet, reduced to its final size."""
        return np.asarray(self.sheet.reduce(2), np.float64).copy()


def drawing(rng: np.random.Generator, size: int) -> Array:
    """Outlined shapes in flat colors or two tones, grids, screen tone, hatching, free strokes."""
    pen = Pen(rng, size)
    outlined = rng.random() < 0.85
    for _ in range(rng.integers(5, 40)):
        radius, at = power_law(rng, pen.side / rng.choice([10, 20, 50]), pen.side / 2.2), rng.uniform(0, pen.side, 2)
        corners, fill = outline(rng, radius) + at, pen.any()
        pen.shape(corners, fill, outlined=outlined and rng.random() < 0.9)
        if rng.random() < 0.25:  # the second tone of cel shading
            inner = (corners - at) * rng.uniform(0.5, 0.85) + at + rng.normal(0, radius * 0.1, 2)
            pen.shape(inner, tuple(int(value * 0.75) for value in fill), outlined=False)  # type: ignore[arg-type]
        if rng.random() < 0.12:
            _grid(pen, at, radius)
        if rng.random() < 0.12:
            _hatching(pen, at, radius)
    if rng.random() < 0.25:
        _screen_tone(pen)
    for _ in range(rng.integers(0, 25)):
        start, step = rng.uniform(0, pen.side, 2), rng.normal(0, pen.side / 14, 2)
        points = pairs(curve(rng, start, step, rng.normal(0, 0.25)))
        pen.line(points, None if rng.random() < 0.7 else pen.any(), max(1, pen.width - int(rng.integers(0, 2))))
    if rng.random() < 0.25:
        _lettering(pen, rng.uniform(0, pen.side, 2), power_law(rng, pen.side / 40, pen.side / 8))
    return pen.done()


def _grid(pen: Pen, at: Array, radius: float) -> None:
    """Equal rectangles in rows, as of windows, tiles or a fence."""
    rng = pen.rng
    rows, columns = rng.integers(1, 7, 2)
    cell, fill = radius / max(rows, columns) * np.array([1, rng.uniform(0.5, 2)]), pen.any()
    for row in range(rows):
        for column in range(columns):
            x, y = at + cell * 1.5 * [column - columns / 2, row - rows / 2]
            pen.shape(np.array([[x, y], [x + cell[0], y], [x + cell[0], y + cell[1]], [x, y + cell[1]]]), fill)


def _hatching(pen: Pen, at: Array, radius: float) -> None:
    rng = pen.rng
    along = rotated(np.array([[1.0, 0.0]]), rng.uniform(0, np.pi))[0]
    across = np.array([-along[1], along[0]])
    gap = max(4.0, pen.width * rng.uniform(2, 5))
    for offset in np.arange(-radius, radius, gap):
        half = np.sqrt(max(radius**2 - offset**2, 0)) * rng.uniform(0.7, 1)
        pen.line(
            pairs(np.stack([at + across * offset - along * half, at + across * offset + along * half])),
            None,
            max(1, pen.width // 2),
        )


def _screen_tone(pen: Pen) -> None:
    rng = pen.rng
    gap, ink = rng.uniform(8, 24), pen.any()
    box = np.sort(rng.uniform(0, pen.side, (2, 2)), axis=0)
    for row, y in enumerate(np.arange(box[0, 1], box[1, 1], gap)):
        dot = gap * (0.1 + 0.35 * (y - box[0, 1]) / (np.ptp(box[:, 1]) + 1))
        for x in np.arange(box[0, 0] + row % 2 * gap / 2, box[1, 0], gap):
            pen.draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill=ink)


def _lettering(pen: Pen, at: Array, height: float) -> None:
    rng = pen.rng
    text = "".join(rng.choice(LETTERS, rng.integers(4, 16)))
    font = ImageFont.load_default(height)
    if rng.random() < 0.6:  # in a speech balloon
        box = pen.draw.textbbox((float(at[0]), float(at[1])), text, font=font)
        margin = height * 0.6
        edges = (box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin)
        pen.draw.rounded_rectangle(edges, radius=height, fill=WHITE, outline=pen.ink, width=pen.width)
    pen.draw.text((float(at[0]), float(at[1])), text, fill=pen.ink, font=font)


def faces(rng: np.random.Generator, size: int) -> Array:
    """One large comic face or a few small ones: locks of hair, large eyes, two tones."""
    pen = Pen(rng, size)
    for _ in range(rng.integers(0, 6)):
        pen.shape(outline(rng, power_law(rng, pen.side / 30, pen.side / 4)) + rng.uniform(0, pen.side, 2), pen.any())
    if rng.random() < 0.5:
        _face(pen, rng.uniform(0.35, 0.65, 2) * pen.side, rng.uniform(0.2, 0.5) * pen.side)
    else:
        for _ in range(rng.integers(2, 6)):
            _face(pen, rng.uniform(0.1, 0.9, 2) * pen.side, rng.uniform(0.06, 0.2) * pen.side)
    return pen.done()


def _face(pen: Pen, at: Array, radius: float) -> None:
    rng = pen.rng
    hair, skin, iris = color(rng, str(rng.choice(list(FAMILIES)))), color(rng, "skin"), color(rng, "paint")
    if rng.random() < 0.6:  # lighter, as in comics
        skin = tuple(min(255, int(value * 0.35 + 165)) for value in skin)  # type: ignore[assignment]
    tilt = rng.normal(0, 0.25)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)

    def put(points: Array) -> Array:
        return rotated(points, tilt) * radius + at

    def oval(x: float, y: float, rx: float, ry: float) -> Array:
        return put(np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], 1))

    shade: Color = tuple(int(value * 0.78) for value in skin)  # type: ignore[assignment]
    pen.shape(
        put(
            np.array([[-0.3, 0.6], [0.3, 0.6], [0.35, 1.3], [1.3, 1.7], [1.5, 3], [-1.5, 3], [-1.3, 1.7], [-0.35, 1.3]])
        ),
        pen.any(),
    )
    pen.shape(put(np.array([[-0.25, 0.5], [0.25, 0.5], [0.3, 1.35], [-0.3, 1.35]])), shade)
    back = rng.uniform(1.0, 2.2)
    pen.shape(
        put(
            np.array(
                [
                    [-1.1, back],
                    [-1.2, -0.2],
                    [-0.8, -1.0],
                    [0, -1.3],
                    [0.8, -1.0],
                    [1.2, -0.2],
                    [1.1, back],
                    [0.6, 0.4],
                    [-0.6, 0.4],
                ]
            )
        ),
        hair,
    )
    chin = np.stack([0.85 * np.cos(angles), np.where(np.sin(angles) > 0, 0.95, 0.9) * np.sin(angles)], 1)
    chin[:, 0] *= np.where(chin[:, 1] > 0.3, 1 - 0.5 * (chin[:, 1] - 0.3), 1)
    pen.shape(put(chin), skin)
    apart, tall, wide = rng.uniform(0.3, 0.42), rng.uniform(0.12, 0.3), rng.uniform(0.6, 1.0)
    for x in (-apart, apart):
        pen.shape(oval(x, 0.12, tall * wide, tall), WHITE, outlined=False)
        pen.shape(oval(x, 0.14, tall * wide * 0.75, tall * 0.85), iris, outlined=tall * radius > 12)
        pen.shape(oval(x, 0.14, tall * wide * 0.4, tall * 0.5), (15, 10, 20), outlined=False)
        pen.shape(oval(x - tall * 0.2, 0.02, tall * 0.16, tall * 0.18), WHITE, outlined=False)
        lid = put(np.array([[x - tall * wide * 1.1, 0.05], [x, 0.1 - tall], [x + tall * wide * 1.1, 0.05]]))
        pen.line(pairs(lid), None, pen.width + 2)
        pen.line(pairs(put(np.array([[x - 0.18, -0.28], [x + 0.18, -0.28 + rng.normal(0, 0.05)]]))))
        if rng.random() < 0.4:
            pen.shape(oval(x * 1.3, 0.42, 0.14, 0.06), (240, 150, 150), outlined=False)
    pen.line(pairs(put(np.array([[-0.02, 0.35], [0.03, 0.42], [-0.02, 0.44]]))), None, max(1, pen.width - 1))
    smile = np.linspace(-0.18, 0.18, 7)
    mouth = put(np.stack([smile, 0.66 - rng.uniform(-1, 2) * smile**2], 1))
    if rng.random() < 0.4:
        pen.shape(mouth, (170, 60, 60))
    else:
        pen.line(pairs(mouth))
    left = -0.95
    while left < 0.75:  # the fringe
        across = rng.uniform(0.25, 0.6)
        tip = np.array([left + across * rng.uniform(0.2, 0.9), rng.uniform(-0.35, 0.15)])
        lock = np.array([[left, -0.75], tip, [left + across, -0.7], [left + across * 0.5, -1.1]])
        pen.shape(put(lock), hair)
        left += across * 0.8
    crown = np.stack([1.0 * np.cos(angles[20:]), -0.62 + 0.6 * np.sin(angles[20:])], 1)
    pen.shape(put(crown), hair, outlined=False)
    pen.line(pairs(put(crown)))


def page(rng: np.random.Generator, size: int) -> Array:
    """Lines of text on a plain or textured background, with boxes."""
    plain = rng.random() < 0.4
    background = np.full((size, size, 3), 250.0) if plain else surface(rng, size, Palette.random(rng))
    canvas = Image.fromarray(background.astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    y = float(rng.uniform(-5, 20))
    while y < size:
        height = power_law(rng, 9, size / 3)
        text = "".join(rng.choice(LETTERS, 40))
        pen.text((float(rng.uniform(-20, size / 4)), y), text, fill=color(rng), font=ImageFont.load_default(height))
        y += height * rng.uniform(1.1, 1.8)
    for _ in range(rng.integers(0, 8)):
        left, top, right, bottom = np.sort(rng.uniform(0, size, (2, 2)), axis=0).ravel()
        pen.rectangle(
            (float(left), float(top), float(right), float(bottom)), outline=color(rng), width=int(rng.integers(1, 5))
        )
    return np.asarray(canvas, np.float64).copy()
