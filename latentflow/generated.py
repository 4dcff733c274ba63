"""Pictures drawn by code: what the bundled autoencoder is trained on, since it ships with no photographs.

Occlusion with power-law sizes after Lee, Mumford & Huang, "Occlusion Models for Natural Images" (IJCV 2001), and
natural-image spectra after Baradad et al., "Learning to See by Looking at Noise" (NeurIPS 2021). Colours are drawn
from families (sky, foliage, skin, earth, grey, paint), and a part of the pictures are flat drawings with dark outlines.
"""

import colorsys
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Array = np.ndarray
Color = tuple[int, int, int]

# hue, saturation and value ranges (each in [0, 1]) of the colour families
_FAMILIES = {
    "sky": ((0.52, 0.66), (0.05, 0.7), (0.5, 1.0)),
    "foliage": ((0.16, 0.42), (0.2, 0.8), (0.08, 0.7)),
    "skin": ((0.01, 0.1), (0.15, 0.6), (0.3, 1.0)),
    "earth": ((0.03, 0.14), (0.15, 0.75), (0.08, 0.75)),
    "grey": ((0.0, 1.0), (0.0, 0.1), (0.0, 1.0)),
    "dusk": ((0.58, 1.0), (0.1, 0.7), (0.02, 0.4)),
    "paint": ((0.0, 1.0), (0.4, 1.0), (0.3, 1.0)),
}


def picture(seed: int, size: int = 256) -> Image.Image:
    """Draw one generated picture: `size` × `size` pixels, RGB; the same seed gives the same picture."""
    rng = np.random.default_rng(seed)
    kinds: list[Callable[[np.random.Generator, int], Image.Image]] = [_leaves, _drawing, _landscape, _texture, _page]
    draw = kinds[rng.choice(len(kinds), p=[0.42, 0.24, 0.14, 0.12, 0.08])]
    return _photographed(rng, draw(rng, size))


def _color(rng: np.random.Generator, family: str | None = None) -> Color:
    ranges = _FAMILIES[family or str(rng.choice(list(_FAMILIES)))]
    red, green, blue = colorsys.hsv_to_rgb(*(rng.uniform(low, high) for low, high in ranges))
    return round(red * 255), round(green * 255), round(blue * 255)


def _noise(rng: np.random.Generator, size: int, alpha: float, stretch: float = 1.0, angle: float = 0.0) -> Array:
    """A field with amplitude spectrum 1/f^alpha, mean 0 and variance 1; stretch > 1 makes it oriented."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    along = fx * np.cos(angle) + fy * np.sin(angle)
    across = fy * np.cos(angle) - fx * np.sin(angle)
    frequency = np.sqrt((along * stretch) ** 2 + across**2)
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / np.maximum(frequency, 1 / size) ** alpha
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(size, size))
    return field / (field.std() + 1e-9)


def _ramp(rng: np.random.Generator, size: int) -> Array:
    """A linear or radial ramp over the picture, in [0, 1]."""
    y, x = np.mgrid[0:size, 0:size] / size
    if rng.random() < 0.35:
        distance = np.hypot(x - rng.uniform(-0.2, 1.2), y - rng.uniform(-0.2, 1.2))
        return np.clip(distance / rng.uniform(0.4, 1.4), 0, 1)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)
    return np.clip(ramp * rng.uniform(0.7, 2) + 0.5, 0, 1)


def _surface(rng: np.random.Generator, size: int, family: str | None = None) -> Image.Image:
    """A filled square: flat, shaded, textured with correlated channels, or striped."""
    first = np.array(_color(rng, family), float)
    kind = rng.choice(["flat", "shaded", "textured", "oriented", "pattern"], p=[0.15, 0.27, 0.3, 0.15, 0.13])
    if kind == "flat":
        pixels = np.broadcast_to(first, (size, size, 3)).copy()
    elif kind == "shaded":
        second = np.array(_color(rng, family), float) if rng.random() < 0.5 else first * rng.uniform(0.2, 1.6)
        ramp = _ramp(rng, size)[..., None]
        pixels = first * (1 - ramp) + second * ramp
    elif kind == "pattern":
        pixels = _pattern(rng, size, first, np.array(_color(rng), float))
    else:
        stretch = rng.uniform(2, 8) if kind == "oriented" else 1.0
        angle, alpha = rng.uniform(0, np.pi), rng.uniform(0.6, 2.2)
        light = _noise(rng, size, alpha, stretch, angle)[..., None] * rng.uniform(6, 50)
        tint = np.array(_color(rng), float) - 128
        chroma = _noise(rng, size, rng.uniform(1.2, 2.2))[..., None] * tint * rng.uniform(0, 0.25)
        pixels = first + light * (0.6 + 0.4 * first / 255) + chroma
        if rng.random() < 0.4:
            pixels = pixels * (0.5 + _ramp(rng, size)[..., None])
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _pattern(rng: np.random.Generator, size: int, first: Array, second: Array) -> Array:
    """Stripes, checks, dots or bricks of two colours."""
    y, x = np.mgrid[0:size, 0:size].astype(float)
    angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    period = rng.uniform(3, 40)
    kind = rng.integers(4)
    if kind == 0:
        wave = np.sin(2 * np.pi * u / period)
    elif kind == 1:
        wave = np.sin(2 * np.pi * u / period) * np.sin(2 * np.pi * v / period)
    elif kind == 2:
        wave = np.cos(2 * np.pi * u / period) + np.cos(2 * np.pi * v / period) - 0.8
    else:
        row = np.floor(v / period)
        wave = np.minimum(np.mod(v, period), np.mod(u + row % 2 * period, 2 * period)) - rng.uniform(1, 3)
    weight = np.clip(wave * rng.uniform(0.5, 6) + 0.5, 0, 1)[..., None]
    return first * (1 - weight) + second * weight


def _outline(rng: np.random.Generator, radius: float) -> list[tuple[float, float]]:
    """The corners of a shape about the origin: disc, ellipse, polygon, wavy blob or bar."""
    kind = rng.choice(["disc", "ellipse", "polygon", "blob", "bar"], p=[0.18, 0.15, 0.25, 0.27, 0.15])
    turn = rng.uniform(0, 2 * np.pi)
    if kind == "polygon":
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
    else:
        angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radii = np.full(angles.shape, radius)
    if kind == "blob":
        for harmonic in range(2, 7):
            radii = radii * (1 + rng.normal(0, 0.25) / harmonic * np.cos(harmonic * angles + rng.uniform(0, 7)))
    x, y = radii * np.cos(angles), radii * np.sin(angles)
    if kind == "ellipse":
        y = y * rng.uniform(0.2, 0.8)
    if kind == "bar":
        x, y = np.array([-1, 1, 1, -1]) * radius * 2, np.array([-1, -1, 1, 1]) * radius * rng.uniform(0.03, 0.4)
    return [(a * np.cos(turn) - b * np.sin(turn), a * np.sin(turn) + b * np.cos(turn)) for a, b in zip(x, y)]


def _mask(size: int, corners: list[tuple[float, float]], center: Array) -> Image.Image:
    """An anti-aliased mask of a polygon: drawn twice as large, then halved."""
    large = Image.new("L", (2 * size, 2 * size))
    ImageDraw.Draw(large).polygon([(2 * (x + center[0]), 2 * (y + center[1])) for x, y in corners], fill=255)
    return large.reduce(2)


def _radius(rng: np.random.Generator, smallest: float, largest: float) -> float:
    """A size with density proportional to r^-3, the scale-invariant law of dead leaves."""
    share = rng.random()
    return float((smallest**-2 * (1 - share) + largest**-2 * share) ** -0.5)


def _leaves(rng: np.random.Generator, size: int) -> Image.Image:
    families = list(rng.choice(list(_FAMILIES), rng.integers(2, 5)))
    canvas = _surface(rng, size, str(rng.choice(families)))
    surfaces = [_surface(rng, size, str(rng.choice(families))) for _ in range(6)]
    count = int(rng.integers(20, 160))
    smallest = size / rng.choice([10, 18, 40])
    focus = rng.integers(count) if rng.random() < 0.4 else -1
    shadows = rng.random() < 0.5
    for index in range(count):
        if index == focus:  # what lies behind is out of focus
            canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(1, 6)))
        mask = _mask(size, _outline(rng, _radius(rng, smallest, size / 1.8)), rng.uniform(-0.1, 1.1, 2) * size)
        if shadows and index % 3 == 0:
            shade = mask.filter(ImageFilter.GaussianBlur(rng.uniform(1, 8))).point(lambda value: value * 0.5)
            canvas.paste((0, 0, 0), (int(rng.integers(-6, 7)), int(rng.integers(-6, 7))), shade)
        if rng.random() < 0.55:
            canvas.paste(surfaces[rng.integers(len(surfaces))], (0, 0), mask)
        else:
            canvas.paste(_color(rng, str(rng.choice(families))), (0, 0, size, size), mask)
    return canvas


def _drawing(rng: np.random.Generator, size: int) -> Image.Image:
    """Flat colours in dark outlines, on a plain or shaded ground, with a few free strokes and some faces."""
    large = 2 * size
    if rng.random() < 0.5:
        ground = Image.new("RGB", (large, large), (255, 255, 255) if rng.random() < 0.4 else _color(rng))
    else:
        ground = _surface(rng, size).resize((large, large), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(ground)
    ink: Color = (0, 0, 0) if rng.random() < 0.5 else tuple(int(c) for c in rng.integers(0, 70, 3))  # type: ignore[assignment]
    width = int(rng.integers(2, 9))
    inks = [_color(rng) for _ in range(rng.integers(3, 7))]
    for _ in range(rng.integers(6, 45)):
        corners = _outline(rng, _radius(rng, large / 40, large / 2.5))
        center = rng.uniform(0, large, 2)
        points = [(x + center[0], y + center[1]) for x, y in corners]
        pen.polygon(points, fill=inks[rng.integers(len(inks))])
        if rng.random() < 0.8:
            pen.line([*points, points[0]], fill=ink, width=width, joint="curve")
    for _ in range(rng.integers(0, 4)):
        _face(rng, pen, rng.uniform(0.15, 0.85, 2) * large, _radius(rng, large / 16, large / 3), ink, width)
    for _ in range(rng.integers(0, 25)):
        start, step = rng.uniform(0, large, 2), rng.normal(0, large / 12, 2)
        bend = rng.normal(0, 0.25)
        points = [tuple(start)]
        for _ in range(12):
            step = step @ np.array([[np.cos(bend), -np.sin(bend)], [np.sin(bend), np.cos(bend)]]) * 0.9
            start = start + step
            points.append(tuple(start))
        pen.line(points, fill=ink if rng.random() < 0.7 else inks[0], width=max(1, width - 1), joint="curve")
    return ground.reduce(2)


def _face(rng: np.random.Generator, pen: ImageDraw.ImageDraw, at: Array, radius: float, ink: Color, width: int) -> None:
    def oval(x: float, y: float, rx: float, ry: float, fill: Color, outlined: bool = True) -> None:
        box = (
            at[0] + (x - rx) * radius,
            at[1] + (y - ry) * radius,
            at[0] + (x + rx) * radius,
            at[1] + (y + ry) * radius,
        )
        pen.ellipse(box, fill=fill, outline=ink if outlined else None, width=width)

    hair, skin, iris = _color(rng), _color(rng, "skin"), _color(rng, "paint")
    oval(0, -0.15, 1.15, 1.2, hair)
    oval(0, 0, rng.uniform(0.75, 0.95), 1, skin)
    apart, tall = rng.uniform(0.3, 0.5), rng.uniform(0.15, 0.35)
    for x in (-apart, apart):
        oval(x, 0, tall * 0.8, tall, (255, 255, 255))
        oval(x, 0.05, tall * 0.5, tall * 0.8, iris)
        oval(x, 0.05, tall * 0.25, tall * 0.45, (10, 10, 10), False)
        oval(x - 0.05, -0.08, tall * 0.15, tall * 0.2, (255, 255, 255), False)
    mouth = (at[0] - 0.2 * radius, at[1] + 0.4 * radius, at[0] + 0.2 * radius, at[1] + 0.65 * radius)
    pen.arc(mouth, 10, 170, fill=ink, width=width)


def _landscape(rng: np.random.Generator, size: int) -> Image.Image:
    """A sky with clouds, ridges one before the other, and a textured ground, hazier the farther away."""
    y = np.linspace(0, 1, size)[:, None, None]
    top, low = (
        np.array(_color(rng, str(rng.choice(["sky", "sky", "dusk"])))),
        np.array(_color(rng, str(rng.choice(["sky", "skin"])))),
    )
    pixels = np.broadcast_to(top * (1 - y) + low * y, (size, size, 3)).copy()
    clouds = np.clip(_noise(rng, size, rng.uniform(1.4, 2), 1 / rng.uniform(1, 3), 0) * rng.uniform(0, 0.5), 0, 1)[
        ..., None
    ]
    canvas = Image.fromarray(np.clip(pixels * (1 - clouds) + 245 * clouds, 0, 255).astype(np.uint8))
    layers = int(rng.integers(2, 6))
    family = str(rng.choice(["foliage", "earth", "grey", "foliage"]))
    for layer in range(layers):
        nearness = (layer + 1) / layers
        ridge = _noise(rng, size, rng.uniform(1, 1.8))[0] * size * rng.uniform(0.01, 0.08) + size * (
            0.35 + 0.5 * layer / layers
        )
        corners = [(0.0, 2.0 * size), *((float(x), float(h)) for x, h in enumerate(ridge)), (float(size), 2.0 * size)]
        mask = _mask(size, corners, np.zeros(2))
        surface = _surface(rng, size, family)
        haze = Image.new("RGB", (size, size), tuple(int(c) for c in low))
        canvas.paste(Image.blend(haze, surface, 0.3 + 0.7 * nearness), (0, 0), mask)
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(0, 12)):  # trunks, poles, towers
        x, width = rng.uniform(0, size), _radius(rng, 1, size / 12)
        box = (x, rng.uniform(0.1, 0.6) * size, x + width, rng.uniform(0.65, 1) * size)
        pen.rectangle(box, fill=_color(rng, str(rng.choice(["earth", "grey", "dusk"]))))
    return canvas


def _texture(rng: np.random.Generator, size: int) -> Image.Image:
    """Two surfaces, one showing through a noise mask of the other."""
    mask = np.clip(_noise(rng, size, rng.uniform(1, 2.2)) * rng.uniform(40, 400) + 128, 0, 255).astype(np.uint8)
    return Image.composite(_surface(rng, size), _surface(rng, size), Image.fromarray(mask))


def _page(rng: np.random.Generator, size: int) -> Image.Image:
    """Lines of letters on a plain or textured ground, with ruled lines and boxes."""
    canvas = Image.new("RGB", (size, size), (250, 250, 250)) if rng.random() < 0.4 else _surface(rng, size)
    pen = ImageDraw.Draw(canvas)
    letters = "abcdefghijklmnopqrstuvwxyz     ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?&%"
    y = float(rng.uniform(-5, 20))
    while y < size:
        height = _radius(rng, 9, size / 3)
        text = "".join(rng.choice(list(letters), 40))
        pen.text((rng.uniform(-20, size / 4), y), text, fill=_color(rng), font=ImageFont.load_default(height))
        y += height * rng.uniform(1.1, 1.8)
    for _ in range(rng.integers(0, 8)):
        box = np.sort(rng.uniform(0, size, (2, 2)), axis=0).ravel()
        pen.rectangle(tuple(box), outline=_color(rng), width=int(rng.integers(1, 5)))
    return canvas


def _photographed(rng: np.random.Generator, canvas: Image.Image) -> Image.Image:
    """What a camera adds: uneven light, exposure, blur, sensor noise."""
    if rng.random() < 0.35:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 2.5)))
    pixels = np.asarray(canvas, np.float32) / 255
    size = pixels.shape[0]
    if rng.random() < 0.4:
        light = 0.4 + 0.9 * _ramp(rng, size) if rng.random() < 0.5 else 1 + 0.25 * _noise(rng, size, 2)
        pixels = pixels * light[..., None]
    if rng.random() < 0.5:
        pixels = np.clip(pixels, 0, 1) ** rng.uniform(0.6, 1.7)
    if rng.random() < 0.4:
        pixels = pixels + rng.normal(0, rng.uniform(0.003, 0.04), pixels.shape)
    return Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))
