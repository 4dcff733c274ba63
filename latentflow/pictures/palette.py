"""Palettes for pictures with few colors: the choice of colors, and the index of each pixel's color.

A GIF shows 256 colors at a time; one index stays free for pixels that don't change. The other 255 begin with the grays
of captions, `EXACT`, so that text stays sharp. The rest are fitted to a sample of pixels. It is drawn cell by cell from
the RGB cube, and large cells give less than their share: otherwise a wide sky would take most colors, and a small red
flag none. The sample lies in Morton's order of the cells, where neighbors have similar colors, so entries at equal
distances are a good start. `RARE` more colors go to pixels that all others represent worst, and weighted k-means then
moves each color to the mean of its pixels. The picture is drawn by error diffusion: each pixel passes its error on to
its neighbors, so that means over a few pixels are right although single ones are not. This runs in each panel alone, so
that no error leaks from one picture into the next. Where no color can make up for the errors they add up to specks;
there the nearest color is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from latentflow.pictures.text import STRIP_SHADES

EXACT = np.unique([*STRIP_SHADES, 255]).astype(np.uint8)  # grays of captions and of the gap: never dithered
MOST_PIXELS = 65_536  # of a picture that are looked at
SAMPLE = 3000  # pixels that a palette is fitted to
LARGEST_SAMPLE = 60_000  # the same for many pictures together
RARE = 12  # colors of a palette that go to what the others represent worst, however small it is
KMEANS_STEPS = 6
MAX_ERROR = 40  # gray levels by which dithering may change a channel of a pixel


def _interleaving() -> np.ndarray:
    """The upper four bits of a byte, two places apart, so that the ones of three channels fit between each other."""
    value = np.arange(256) >> 4
    return np.sum([(value >> bit & 1) << 3 * bit for bit in range(4)], 0).astype(np.uint16)


_INTERLEAVED = _interleaving()


def sample_colors(picture: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """About `SAMPLE` pixels of a picture (h, w, 3) uint8 where `wanted` (h, w) is True, and how many pixels each stands
    for: (n, 3) uint8 and (n,).

    The RGB cube has 16 × 16 × 16 cells, each of which gives a number of pixels that grows with the power 0.6 of how
    many it has, one at least, so that a small spot of a color of its own counts. The sample is in Morton's order of
    cells.
    """
    places = np.flatnonzero(wanted)
    pixels = picture.reshape(-1, 3)[places[:: 1 + len(places) // MOST_PIXELS]]
    red, green, blue = _INTERLEAVED[pixels.T]
    cells = red << 2 | green << 1 | blue
    held = np.bincount(cells)
    held = held[held > 0]
    spread = held**0.6
    taken = np.clip(spread * (SAMPLE / max(1, spread.sum())), 1, held).astype(int)
    weights = np.repeat(held / taken, taken)
    within = np.arange(len(weights)) - np.repeat(taken.cumsum() - taken, taken)
    chosen = np.repeat(held.cumsum() - held, taken) + (within * weights).astype(int)
    return pixels[cells.argsort(kind="stable")[chosen]], weights


def choose_palette(colors: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """A palette (≤ size, 3) uint8 that begins with `EXACT`, for colors (n, 3) uint8 that stand for `weights` (n,)
    pixels each: some at equal distances in their order, then the worst represented ones, then weighted k-means.
    """
    exact = np.repeat(EXACT[:, None], 3, 1)
    if not len(colors):
        return exact
    values = colors.astype(np.float32)
    count = min(len(values), size - len(exact) - RARE)
    palette = values[np.linspace(0, len(values) - 1, count).astype(int)]
    palette = np.concatenate([palette, _represented_worst(values, weights, palette)])
    weighted = (values * weights[:, None]).T
    for _ in range(KMEANS_STEPS):
        nearest = _nearest(values, palette)
        total = np.bincount(nearest, weights, len(palette))
        sums = np.stack([np.bincount(nearest, channel, len(palette)) for channel in weighted], 1)
        used = total > 0
        palette[used] = sums[used] / total[used, None]
    return np.concatenate([exact, palette.round().astype(np.uint8)])


def _represented_worst(values: np.ndarray, weights: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """`RARE` of the values (n, 3), one after the other, that are farthest from every color of the palette and from
    those before."""
    distance, importance = np.square(values - palette[_nearest(values, palette)]).sum(1), np.sqrt(weights)
    found = []
    for _ in range(RARE):
        found.append(values[(distance * importance).argmax()])
        distance = np.minimum(distance, np.square(values - found[-1]).sum(1))
    return np.array(found)


def _nearest(values: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The index of the nearest color of a palette (k, 3) to each of the values (n, 3)."""
    return np.asarray((values @ palette.T - np.square(palette).sum(1) / 2).argmax(1))


class ColorSample:
    """A sample of the colors of any number of pictures, in constant memory."""

    def __init__(self) -> None:
        self.colors, self.weights = np.empty((0, 3), np.uint8), np.empty(0)

    def add(self, picture: np.ndarray) -> None:
        """Take in a picture (h, w, 3) uint8."""
        colors, weights = sample_colors(picture, ~exact_pixels(picture))
        self.colors = np.concatenate([self.colors, colors])
        self.weights = np.concatenate([self.weights, weights])
        while len(self.colors) > LARGEST_SAMPLE:
            self.colors, self.weights = self.colors[::2], 2 * self.weights[::2]

    def palette(self, size: int) -> np.ndarray:
        """One palette (≤ size, 3) uint8 for all of them, as `choose_palette` makes it."""
        return choose_palette(self.colors, self.weights, size)


def exact_pixels(picture: np.ndarray) -> np.ndarray:
    """Find the pixels of a picture (h, w, 3) uint8 that have one of the grays `EXACT`: (h, w) bool."""
    red, green, blue = np.moveaxis(picture, 2, 0)
    return np.asarray((red == green) & (green == blue) & np.isin(np.arange(256), EXACT)[red])


def _as_image(palette: np.ndarray) -> Image.Image:
    image = Image.new("P", (1, 1))
    image.putpalette(palette.tobytes())
    return image


def dithered(picture: np.ndarray, palette: np.ndarray, exact: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The index (h, w) uint8 of a color of the palette (n, 3), which begins with `EXACT`, for each pixel of a picture
    (h, w, 3) uint8 that is `wanted` (h, w).

    Where `exact` (h, w) the color is the pixel's own. Elsewhere Floyd and Steinberg's error diffusion chooses it, in
    each panel alone, so that no error leaks into the next one.
    """
    indices = np.zeros(exact.shape, np.uint8)
    colors = _as_image(palette)
    for panel in _panels(picture, exact):
        if wanted[panel].any():
            image = Image.fromarray(picture[panel]).quantize(palette=colors, dither=Image.Dither.FLOYDSTEINBERG)
            indices[panel] = _without_specks(np.array(image), picture[panel], palette)
    indices[exact] = np.searchsorted(EXACT, picture[..., 0][exact])
    return indices


def _without_specks(indices: np.ndarray, picture: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Colors (h, w) of a palette as error diffusion chose them, except where errors that no color could make up for
    have added up to one far from the pixel's own: there the nearest."""
    off = np.abs(palette[indices].astype(np.int16) - picture).max(2) > MAX_ERROR
    indices[off] = _nearest(picture[off].astype(np.float32), palette.astype(np.float32))
    return indices


def _panels(picture: np.ndarray, exact: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """The panels of a picture: the rows between strips of text, divided at columns of exact pixels."""
    strips = exact.all(axis=1) & (picture[..., 0] < 255).any(axis=1)
    for rows in _runs(~strips):
        for columns in _runs(~exact[rows].all(axis=0)):
            yield rows, columns


def _runs(inside: Any) -> list[slice]:
    """Return the stretches of True in a sequence of bool, as slices."""
    edges = np.flatnonzero(np.diff(inside, prepend=False, append=False))
    return [slice(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
