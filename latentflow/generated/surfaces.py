"""Colors of natural families, and the textures that fill shapes."""

import colorsys
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Color = tuple[int, int, int]

# ranges of hue, saturation and value, each in [0, 1]
FAMILIES = {
    "sky": ((0.52, 0.66), (0.05, 0.7), (0.5, 1.0)),
    "foliage": ((0.16, 0.42), (0.2, 0.8), (0.08, 0.7)),
    "skin": ((0.01, 0.1), (0.15, 0.6), (0.3, 1.0)),
    "earth": ((0.03, 0.14), (0.15, 0.75), (0.08, 0.75)),
    "gray": ((0.0, 1.0), (0.0, 0.1), (0.0, 1.0)),
    "dusk": ((0.58, 1.0), (0.1, 0.7), (0.02, 0.4)),
    "paint": ((0.0, 1.0), (0.4, 1.0), (0.3, 1.0)),
}


def color(rng: np.random.Generator, family: str | None = None) -> Color:
    """A random color of a family, or of any: red, green and blue from 0 to 255."""
    ranges = FAMILIES[family or str(rng.choice(list(FAMILIES)))]
    red, green, blue = colorsys.hsv_to_rgb(*(rng.uniform(low, high) for low, high in ranges))
    return round(red * 255), round(green * 255), round(blue * 255)


@dataclass(frozen=True)
class Palette:
    """The colors of an image; each use of one varies its lightness."""

    bases: tuple[Color, ...]

    @classmethod
    def random(cls, rng: np.random.Generator, families: list[str] | None = None) -> "Palette":
        """Three to six random colors of the families, or of two or three random families."""
        chosen = families or [str(name) for name in rng.choice(list(FAMILIES), rng.integers(2, 4))]
        return cls(tuple(color(rng, str(rng.choice(chosen))) for _ in range(rng.integers(3, 7))))

    def pick(self, rng: np.random.Generator, spread: float = 0.35) -> Array:
        """One of the colors with a random change of lightness: (3,), from 0 to 255."""
        base = np.array(self.bases[rng.integers(len(self.bases))], float)
        return np.clip(base * np.exp(rng.normal(0, spread)) + rng.normal(0, 6, 3), 0, 255)


def noise(rng: np.random.Generator, size: int, alpha: float, stretch: float = 1.0, angle: float = 0.0) -> Array:
    """A random field (size, size) with amplitude spectrum 1/f^alpha, mean 0 and variance 1; with stretch > 1 it is
    oriented along `angle`, in radians."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    along = fx * np.cos(angle) + fy * np.sin(angle)
    across = fy * np.cos(angle) - fx * np.sin(angle)
    frequency = np.sqrt((along * stretch) ** 2 + across**2)
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / np.maximum(frequency, 1 / size) ** alpha
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(size, size))
    return field / (field.std() + 1e-9)


def ramp(rng: np.random.Generator, size: int) -> Array:
    """A linear or radial ramp (size, size) in [0, 1]."""
    y, x = np.mgrid[0:size, 0:size] / size
    if rng.random() < 0.35:
        distance = np.hypot(x - rng.uniform(-0.2, 1.2), y - rng.uniform(-0.2, 1.2))
        return np.clip(distance / rng.uniform(0.4, 1.4), 0, 1)
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)
    return np.clip(slope * rng.uniform(0.7, 2) + 0.5, 0, 1)


def surface(rng: np.random.Generator, size: int, palette: Palette) -> Array:
    """A texture (size, size, 3) from 0 to 255: flat, shaded, noise with correlated channels, or a pattern."""
    first = palette.pick(rng)
    kind = rng.choice(["flat", "shaded", "textured", "oriented", "pattern"], p=[0.14, 0.26, 0.33, 0.16, 0.11])
    if kind == "flat":
        return np.broadcast_to(first, (size, size, 3)).copy()
    if kind == "shaded":
        second = palette.pick(rng) if rng.random() < 0.5 else first * rng.uniform(0.2, 1.6)
        weight = ramp(rng, size)[..., None]
        return np.clip(first * (1 - weight) + second * weight, 0, 255)
    if kind == "pattern":
        return np.clip(pattern(rng, size, first, palette.pick(rng, 0.6)), 0, 255)
    stretch = rng.uniform(2, 8) if kind == "oriented" else 1.0
    light = noise(rng, size, rng.uniform(0.6, 2.2), stretch, rng.uniform(0, np.pi))
    if rng.random() < 0.3:  # local variation of contrast, as on gravel, bark or leaves
        light = light * np.exp(0.7 * noise(rng, size, 1.8))
    pixels = first + light[..., None] * rng.uniform(5, 45) * (0.4 + 0.6 * first / 255)
    if rng.random() < 0.6:
        tint = np.array(color(rng), float) - 128
        pixels = pixels + noise(rng, size, rng.uniform(1.2, 2.2))[..., None] * tint * rng.uniform(0, 0.25)
    if rng.random() < 0.4:
        pixels = pixels * (0.5 + ramp(rng, size)[..., None])
    return np.clip(pixels, 0, 255)


def pattern(rng: np.random.Generator, size: int, first: Array, second: Array) -> Array:
    """Stripes, checks, dots, bricks or a grid of two colors: (size, size, 3) from 0 to 255."""
    y, x = np.mgrid[0:size, 0:size].astype(float)
    angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
    bend = noise(rng, size, 2.2) * rng.uniform(0, 6) if rng.random() < 0.4 else 0.0
    u, v = x * np.cos(angle) + y * np.sin(angle) + bend, y * np.cos(angle) - x * np.sin(angle) + bend
    period = rng.uniform(3, 40)
    kind = rng.integers(5)
    if kind == 0:
        wave = np.sin(2 * np.pi * u / period)
    elif kind == 1:
        wave = np.sin(2 * np.pi * u / period) * np.sin(2 * np.pi * v / period)
    elif kind == 2:
        wave = np.cos(2 * np.pi * u / period) + np.cos(2 * np.pi * v / period) - 0.8
    elif kind == 3:
        row = np.floor(v / period)
        wave = np.minimum(np.mod(v, period), np.mod(u + row % 2 * period, 2 * period)) - rng.uniform(1, 3)
    else:
        wave = np.minimum(np.mod(v, period), np.mod(u, period * rng.uniform(0.5, 2))) - rng.uniform(0.2, 0.5) * period
    weight = np.clip(wave * rng.uniform(0.5, 6) + 0.5, 0, 1)[..., None]
    return first * (1 - weight) + second * weight
