"""Simple scenes with captions: the training data of the bundled text-to-image model.

A scene is one of eight kinds in one of ten colors, by day, at dusk or at night, with one to three of its things. Its
caption says some or all of that in plain words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from latentflow.generated.shapes import pairs

Array = np.ndarray
RGB = tuple[int, int, int]

KINDS = ("street", "face", "hills", "boat", "house", "ball", "flower", "tree")
COLORS: dict[str, RGB] = {
    "red": (212, 44, 40),
    "orange": (244, 138, 30),
    "yellow": (250, 216, 50),
    "green": (58, 156, 60),
    "blue": (44, 92, 216),
    "purple": (140, 62, 178),
    "pink": (248, 146, 186),
    "brown": (124, 76, 42),
    "white": (244, 244, 240),
    "black": (36, 36, 42),
}
TIMES = {"day": ("by day", "in the day"), "dusk": ("at dusk", "at sunset"), "night": ("at night", "by night")}
NUMBERS = ("no", "one", "two", "three")
MOST = {"street": 1, "face": 2, "hills": 1} | dict.fromkeys(("boat", "house", "ball", "flower", "tree"), 3)
_LIGHT = {"day": (1.0, 1.0, 1.0), "dusk": (0.92, 0.68, 0.62), "night": (0.5, 0.56, 0.78)}
_SKY: dict[str, tuple[RGB, RGB]] = {
    "day": ((88, 156, 232), (202, 228, 246)),
    "dusk": ((92, 62, 132), (250, 156, 92)),
    "night": ((8, 12, 36), (34, 44, 88)),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene to draw: a kind, a color, a time of day, and a number of objects."""

    kind: str
    color: str
    time: str
    count: int = 1

    @classmethod
    def random(cls, rng: np.random.Generator, *, held_out: bool = False) -> Scene:
        """A random scene from the trained combinations or from the held-out ones."""
        while True:
            kind, color, time = (str(rng.choice(list(names))) for names in (KINDS, COLORS, TIMES))
            found = cls(kind, color, time, int(rng.integers(1, MOST[kind] + 1)))
            if found.held_out == held_out:
                return found

    @property
    def held_out(self) -> bool:
        """True if its kind, color and time are one of the 24 combinations of 240 that no training image shows: one
        color for each kind and time."""
        places = (
            list(names).index(name) for names, name in ((KINDS, self.kind), (COLORS, self.color), (TIMES, self.time))
        )
        kind, color, time = places
        return (7 * kind + 3 * color + 5 * time) % len(COLORS) == 0

    def caption(self, rng: np.random.Generator | None = None) -> str:
        """A caption that says all, or, with `rng`, one that may leave out the color, the time or the number."""
        says_color, says_time, says_count = (True, True, True) if rng is None else rng.random(3) < (0.75, 0.7, 0.85)
        color = f"{self.color} " if says_color else ""
        if self.kind == "hills":
            words = f"{color}hills"
        else:
            plural = self.kind + ("s" if self.count > 1 else "")
            number = NUMBERS[self.count]
            if self.count == 1:
                vowel = says_color and self.kind != "face" and self.color[0] in "aeiou"
                number = ("an" if vowel else "a") if rng is None or rng.random() < 0.8 else "one"
            number = f"{number} " if says_count or self.count == 1 else ""
            if self.kind == "face":
                words = f"{number}{plural} with {color}hair" if says_color else f"{number}{plural}"
            else:
                words = f"{number}{color}{plural}"
            if self.kind == "boat" and rng is not None and rng.random() < 0.3:
                words += " on the sea"
        if not says_time:
            return words
        phrases = TIMES[self.time]
        return f"{words} {phrases[0 if rng is None else int(rng.integers(len(phrases)))]}"

    def draw(self, rng: np.random.Generator, size: int = 128) -> Image.Image:
        """An image of `size` × `size` pixels, RGB."""
        canvas = _Canvas(rng, size, self.time)
        _DRAWN[self.kind](canvas, COLORS[self.color], self.count)
        return canvas.sheet.reduce(2)


def vocabulary() -> list[str]:
    """All words of captions, sorted."""
    phrases = " ".join(phrase for times in TIMES.values() for phrase in times)
    things = [*KINDS, *(f"{kind}s" for kind in KINDS if MOST[kind] > 1)]
    return sorted({*things, *COLORS, *NUMBERS[1:], *phrases.split(), *["a", "an", "with", "hair", "on", "the", "sea"]})


def captioned(seed: int, size: int = 128, *, held_out: bool = False) -> tuple[Image.Image, str, Scene]:
    """A random scene's image, its caption, and the scene; the same seed gives the same."""
    rng = np.random.default_rng(seed)
    scene = Scene.random(rng, held_out=held_out)
    words = scene.caption(rng)
    return scene.draw(rng, size), words, scene


class _Canvas:
    """A sheet of twice the size, in the light of a time of day. Places are from 0 to 1."""

    def __init__(self, rng: np.random.Generator, size: int, time: str) -> None:
        self.rng, self.side, self.time, self.light = rng, 2 * size, time, np.array(_LIGHT[time])
        self.sheet = Image.new("RGB", (self.side, self.side))
        self.pen = ImageDraw.Draw(self.sheet)

    @property
    def night(self) -> bool:
        return self.time == "night"

    def lit(self, color: Sequence[float] | Array, brightness: float = 1.0) -> RGB:
        """A color in the light of the time of day."""
        red, green, blue = np.clip(np.asarray(color, float) * self.light * brightness, 0, 255).astype(int)
        return int(red), int(green), int(blue)

    def varied(self, color: Sequence[float] | Array, spread: float = 0.08) -> Array:
        """The color with a slightly different lightness."""
        return np.clip(np.asarray(color, float) * np.exp(self.rng.normal(0, spread)), 0, 255)

    def gradient(
        self, top: float, bottom: float, first: Sequence[float] | Array, second: Sequence[float] | Array
    ) -> None:
        """Fill a band from one color to another."""
        begin, end = round(top * self.side), round(bottom * self.side)
        if end <= begin:
            return
        weight = np.linspace(0, 1, end - begin)[:, None, None]
        rows = np.asarray(first, float) * (1 - weight) + np.asarray(second, float) * weight
        band = np.broadcast_to(rows, (end - begin, self.side, 3))
        self.sheet.paste(Image.fromarray(np.clip(band, 0, 255).astype(np.uint8)), (0, begin))

    def ellipse(self, x: float, y: float, across: float, down: float, fill: RGB) -> None:
        """Fill an ellipse around a place, of two radii."""
        box = ((x - across) * self.side, (y - down) * self.side, (x + across) * self.side, (y + down) * self.side)
        self.pen.ellipse(box, fill=fill)

    def polygon(self, points: Sequence[tuple[float, float]] | Array, fill: RGB) -> None:
        """Fill a polygon."""
        self.pen.polygon(pairs(np.asarray(points) * self.side), fill=fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: RGB) -> None:
        """Fill a rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], fill)

    def line(self, points: Sequence[tuple[float, float]], width: float, fill: RGB) -> None:
        """Draw a line."""
        self.pen.line(
            pairs(np.asarray(points) * self.side), fill=fill, width=max(1, round(width * self.side)), joint="curve"
        )

    def sky(self, horizon: float) -> None:
        """A sky with clouds by day, a sun at dusk, the moon and stars at night."""
        rng = self.rng
        top, low = _SKY[self.time]
        self.gradient(0, horizon, self.varied(top, 0.05), self.varied(low, 0.05))
        x, y = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.2)
        if self.night:
            for _ in range(24):
                self.ellipse(rng.uniform(0, 1), rng.uniform(0, horizon), 0.005, 0.005, (226, 226, 236))
            self.ellipse(x, y, 0.06, 0.06, (238, 234, 206))
            self.ellipse(x + 0.025, y - 0.012, 0.05, 0.05, (14, 18, 46))
        elif self.time == "dusk":
            self.ellipse(x, horizon - 0.02, 0.12, 0.12, (255, 206, 120))
        else:
            for _ in range(int(rng.integers(1, 4))):
                x, y, wide = rng.uniform(0, 1), rng.uniform(0.05, max(0.08, horizon - 0.2)), rng.uniform(0.06, 0.13)
                for shift, high in ((-0.7, 0.6), (0.0, 1.0), (0.8, 0.7)):
                    self.ellipse(x + shift * wide, y, wide * 0.75, wide * 0.36 * high, (246, 249, 252))

    def ground(self, horizon: float, far: Sequence[float], near: Sequence[float]) -> None:
        """The ground below the horizon."""
        self.gradient(horizon, 1, self.lit(far), self.lit(near))

    def meadow(self, horizon: float) -> None:
        """Sky and grass."""
        self.sky(horizon)
        self.ground(horizon, (150, 190, 100), (84, 146, 62))

    def places(self, count: int, low: float = 0.08, high: float = 0.92) -> list[tuple[float, float]]:
        """The x and the width of things side by side, a little out of place."""
        width = (high - low) / count
        return [(low + (i + 0.5) * width + self.rng.normal(0, 0.05) * width, width) for i in range(count)]


def _street(canvas: _Canvas, color: RGB, count: int) -> None:
    rng = canvas.rng
    ground = 0.78
    canvas.sky(ground)
    left = rng.uniform(-0.15, 0.0)
    while left < 1:
        width, top = rng.uniform(0.2, 0.34), rng.uniform(0.12, 0.42)
        front = canvas.varied(color, 0.16)
        canvas.box(left, top, left + width, ground, canvas.lit(front))
        canvas.box(left - 0.006, top - 0.02, left + width + 0.006, top + 0.012, canvas.lit(front, 0.6))
        columns = 3 if width > 0.26 else 2
        step = width / columns
        for row in np.arange(top + 0.05, ground - 0.12, 0.125):
            for i in range(columns):
                shining = canvas.night and rng.random() < 0.7
                pane: RGB = (255, 222, 120) if shining else canvas.lit((120, 150, 178), 0.9)
                x = left + (i + 0.24) * step
                canvas.box(
                    x - 0.008, row - 0.008, x + 0.52 * step + 0.008, row + 0.083, canvas.lit((250, 250, 245), 0.85)
                )
                canvas.box(x, row, x + 0.52 * step, row + 0.075, pane)
        door = left + width * rng.uniform(0.3, 0.6)
        canvas.box(door, ground - 0.1, door + 0.055, ground, canvas.lit((84, 60, 44)))
        left += width
    canvas.ground(ground, (186, 182, 176), (164, 160, 156))
    canvas.ground(0.84, (96, 96, 100), (70, 70, 76))
    for x in np.arange(rng.uniform(-0.2, 0), 1, 0.25):
        canvas.box(x, 0.91, x + 0.13, 0.925, canvas.lit((236, 232, 220)))
    for x in (rng.uniform(0.05, 0.4), rng.uniform(0.6, 0.95)):
        canvas.box(x - 0.007, 0.5, x + 0.007, 0.86, canvas.lit((58, 60, 64)))
        canvas.ellipse(x, 0.49, 0.032, 0.032, (255, 236, 160) if canvas.night else canvas.lit((228, 226, 214)))


def _face(canvas: _Canvas, color: RGB, count: int) -> None:
    rng = canvas.rng
    top, low = _SKY[canvas.time]
    canvas.gradient(0, 1, canvas.varied(top, 0.05), canvas.varied(low, 0.05))
    tones = ((246, 208, 178), (226, 172, 132), (172, 116, 78), (112, 74, 52))
    for x, width in canvas.places(count, 0.06, 0.94):
        radius, y = min(0.27, 0.4 * width) * rng.uniform(0.9, 1.05), 0.46 + rng.normal(0, 0.02)
        skin, hair, cloth = (
            canvas.varied(tones[rng.integers(4)]),
            canvas.varied(color),
            canvas.varied((120, 130, 150), 0.4),
        )
        long = rng.random() < 0.5
        canvas.ellipse(x, y + 2.5 * radius, 1.5 * radius, 1.3 * radius, canvas.lit(cloth))
        if long:
            canvas.ellipse(x, y + 0.25 * radius, 1.22 * radius, 1.5 * radius, canvas.lit(hair, 0.8))
        canvas.box(x - 0.3 * radius, y + 0.6 * radius, x + 0.3 * radius, y + 1.35 * radius, canvas.lit(skin, 0.8))
        canvas.ellipse(x, y - 0.15 * radius, 1.12 * radius, 1.2 * radius, canvas.lit(hair))
        canvas.ellipse(x, y + 0.1 * radius, 0.88 * radius, 1.08 * radius, canvas.lit(skin))
        angles = np.linspace(np.pi, 2 * np.pi, 24)
        arc = np.stack([x + 1.02 * radius * np.cos(angles), y - 0.25 * radius + 1.02 * radius * np.sin(angles)], 1)
        canvas.polygon(
            np.concatenate([arc, [[x + rng.uniform(-0.5, 0.5) * radius, y - 0.62 * radius]]]), canvas.lit(hair)
        )
        eye = canvas.lit((70, 60, 50))
        for side in (-0.36, 0.36):
            canvas.ellipse(x + side * radius, y, 0.17 * radius, 0.12 * radius, canvas.lit((250, 250, 250)))
            canvas.ellipse(x + side * radius, y, 0.09 * radius, 0.11 * radius, eye)
            ends = [(x + (side - 0.18) * radius, y - 0.24 * radius), (x + (side + 0.18) * radius, y - 0.26 * radius)]
            canvas.line(ends, 0.05 * radius, canvas.lit(hair, 0.55))
        canvas.line(
            [(x, y + 0.1 * radius), (x + 0.08 * radius, y + 0.38 * radius), (x - 0.03 * radius, y + 0.4 * radius)],
            0.045 * radius,
            canvas.lit(skin, 0.7),
        )
        smile = np.linspace(-0.32, 0.32, 9)
        curve = rng.uniform(0.4, 1.8)
        lips = [(x + s * radius, y + (0.74 - curve * s * s) * radius) for s in smile]
        canvas.line(lips, 0.075 * radius, canvas.lit((186, 62, 66)))


def _hills(canvas: _Canvas, color: RGB, count: int) -> None:
    rng = canvas.rng
    horizon = rng.uniform(0.3, 0.42)
    canvas.sky(0.8)
    haze = np.asarray(_SKY[canvas.time][1], float)
    x = np.linspace(0, 1, 60)
    layers = int(rng.integers(3, 5))
    for layer in range(layers):
        near = (layer + 1) / layers
        base = horizon + (0.9 - horizon) * layer / layers
        ridge = base + sum(
            rng.uniform(0.02, 0.075) / k * np.sin(2 * np.pi * (k * x * rng.uniform(0.7, 1.3) + rng.random()))
            for k in (1, 2)
        )
        shade = np.asarray(canvas.lit(canvas.varied(color, 0.05), 0.75 + 0.25 * near), float)
        tone = shade + (haze - shade) * 0.45 * (1 - near)
        corners = np.concatenate([np.stack([x, ridge], 1), [[1, 1.01], [0, 1.01]]])
        canvas.polygon(corners, (int(tone[0]), int(tone[1]), int(tone[2])))


def _boat(canvas: _Canvas, color: RGB, count: int) -> None:
    rng = canvas.rng
    horizon = rng.uniform(0.4, 0.5)
    canvas.sky(horizon)
    canvas.ground(horizon, (120, 184, 214), (28, 92, 148))
    for _ in range(26):
        y = rng.uniform(horizon + 0.03, 1)
        x, wide = rng.uniform(0, 1), 0.03 + 0.08 * (y - horizon)
        canvas.line([(x - wide, y), (x, y - 0.006), (x + wide, y)], 0.007, canvas.lit((196, 226, 238)))
    for x, width in canvas.places(count):
        reach, y = min(0.26, 0.42 * width) * rng.uniform(0.85, 1.05), rng.uniform(horizon + 0.14, 0.84)
        hull = canvas.lit(canvas.varied(color))
        mast = y - 0.36 * reach
        canvas.line([(x, mast), (x, y - 2 * reach)], 0.03 * reach + 0.004, canvas.lit((90, 66, 46)))
        canvas.polygon(
            [
                (x + 0.06 * reach, y - 1.95 * reach),
                (x + 0.06 * reach, mast - 0.1 * reach),
                (x + 0.85 * reach, mast - 0.1 * reach),
            ],
            canvas.lit((248, 246, 236)),
        )
        canvas.polygon(
            [
                (x - 0.06 * reach, y - 1.7 * reach),
                (x - 0.06 * reach, mast - 0.1 * reach),
                (x - 0.6 * reach, mast - 0.1 * reach),
            ],
            canvas.lit((230, 226, 214)),
        )
        canvas.polygon(
            [
                (x - reach, mast),
                (x + reach, mast),
                (x + 0.65 * reach, y + 0.06 * reach),
                (x - 0.65 * reach, y + 0.06 * reach),
            ],
            hull,
        )
        canvas.line(
            [(x - 0.75 * reach, y + 0.1 * reach), (x + 0.75 * reach, y + 0.1 * reach)],
            0.012,
            canvas.lit((210, 234, 242)),
        )


def _house(canvas: _Canvas, color: RGB, count: int) -> None:
    rng = canvas.rng
    canvas.meadow(0.6)
    for x, width in canvas.places(count, 0.05, 0.95):
        half, foot = min(0.25, 0.4 * width) * rng.uniform(0.9, 1.05), rng.uniform(0.72, 0.8)
        wall, high = canvas.varied(color), half * rng.uniform(1.3, 1.6)
        top = foot - high
        canvas.box(x - half, top, x + half, foot, canvas.lit(wall))
        canvas.polygon(
            [(x - 1.2 * half, top), (x, top - half * rng.uniform(0.8, 1.1)), (x + 1.2 * half, top)],
            canvas.lit((108, 70, 62)),
        )
        canvas.box(x - 0.2 * half, foot - 0.7 * half, x + 0.2 * half, foot, canvas.lit((74, 52, 40)))
        pane: RGB = (255, 222, 120) if canvas.night else canvas.lit((176, 214, 236))
        for side in (-0.58, 0.58):
            left, right = x + (side - 0.24) * half, x + (side + 0.24) * half
            canvas.box(
                left - 0.05 * half,
                top + 0.22 * half,
                right + 0.05 * half,
                top + 0.75 * half,
                canvas.lit((250, 250, 244)),
            )
            canvas.box(left, top + 0.27 * half, right, top + 0.7 * half, pane)


def _ball(canvas: _Canvas, color: RGB, count: int) -> None:
    rng = canvas.rng
    top, low = _SKY[canvas.time]
    canvas.gradient(0, 0.55, canvas.varied(top, 0.05), canvas.varied(low, 0.05))
    canvas.ground(0.55, (206, 190, 168), (170, 148, 122))
    for x, width in canvas.places(count):
        radius, y = min(0.24, 0.42 * width) * rng.uniform(0.85, 1.05), rng.uniform(0.56, 0.7)
        body = canvas.varied(color)
        canvas.ellipse(x + 0.2 * radius, y + 0.95 * radius, 1.05 * radius, 0.24 * radius, canvas.lit((110, 94, 78)))
        for part in np.linspace(0, 1, 12):  # from the dark edge to the lit side
            shrink = 1 - 0.85 * part
            shade = np.clip(body * (0.62 + 0.5 * part) + 26 * part**3, 0, 255)
            shift = 0.38 * radius * part
            canvas.ellipse(x - shift, y - shift, radius * shrink, radius * shrink, canvas.lit(shade))
        canvas.ellipse(x - 0.42 * radius, y - 0.45 * radius, 0.1 * radius, 0.08 * radius, canvas.lit((255, 255, 255)))


def _flower(canvas: _Canvas, color: RGB, count: int) -> None:
    rng = canvas.rng
    canvas.meadow(0.72)
    for x, width in canvas.places(count):
        radius, y = min(0.2, 0.42 * width) * rng.uniform(0.9, 1.05), rng.uniform(0.3, 0.5)
        foot = rng.uniform(0.84, 0.95)
        stem = canvas.lit((58, 124, 50))
        canvas.line([(x, y), (x + rng.normal(0, 0.02), (y + foot) / 2), (x, foot)], 0.02, stem)
        for side in (-1, 1):
            bend = foot - rng.uniform(0.06, 0.16)
            canvas.polygon(
                [(x, bend + 0.06), (x + side * 0.3 * width, bend - 0.03), (x + side * 0.1 * width, bend - 0.035)], stem
            )
        petal, petals, turn = canvas.varied(color), int(rng.integers(5, 8)), rng.uniform(0, 6)
        for i in range(petals):
            angle = turn + 2 * np.pi * i / petals
            at = x + 0.58 * radius * np.cos(angle), y + 0.58 * radius * np.sin(angle)
            canvas.ellipse(*at, 0.42 * radius, 0.42 * radius, canvas.lit(petal, 0.9 + 0.1 * (i % 2)))
        center = (124, 80, 40) if color in (COLORS["yellow"], COLORS["orange"]) else (250, 206, 60)
        canvas.ellipse(x, y, 0.32 * radius, 0.32 * radius, canvas.lit(center))


def _tree(canvas: _Canvas, color: RGB, count: int) -> None:
    rng = canvas.rng
    canvas.meadow(0.7)
    for x, width in canvas.places(count):
        reach, foot = min(0.25, 0.45 * width) * rng.uniform(0.9, 1.05), rng.uniform(0.76, 0.86)
        crown = foot - 0.22 - 1.1 * reach
        trunk = 0.11 * reach + 0.006
        canvas.polygon(
            [(x - 1.5 * trunk, foot), (x - 0.8 * trunk, crown), (x + 0.8 * trunk, crown), (x + 1.5 * trunk, foot)],
            canvas.lit((102, 72, 48)),
        )
        for brightness, size in ((0.72, 0.62), (0.88, 0.5), (1.05, 0.38)):
            for _ in range(7):
                angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.62) * reach
                at = (
                    x + away * np.cos(angle) - 0.1 * reach * brightness,
                    crown + away * np.sin(angle) + 0.2 * reach * (0.9 - brightness),
                )
                canvas.ellipse(*at, size * reach, size * reach, canvas.lit(canvas.varied(color, 0.05), brightness))


_DRAWN = {
    "street": _street,
    "face": _face,
    "hills": _hills,
    "boat": _boat,
    "house": _house,
    "ball": _ball,
    "flower": _flower,
    "tree": _tree,
}
