"""Decoded tiles side by side, and the views of a window that pans across them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latentflow.base.pixels import to_uint8
from latentflow.base.records import Frame, Record
from latentflow.sinks import Sink

if TYPE_CHECKING:
    from torch import Tensor

GAP = 6  # pixels between tiles, in which the frames of marked ones are
FRAMES_PER_WINDOW = 48  # in which a window moves on by its own width


@dataclass(frozen=True, kw_only=True)
class Tile(Frame):
    """The picture at the coordinates `place` of a plane, in row `row` from the top and column `column`."""

    row: int
    column: int
    place: tuple[float, float]


class Mosaic(Sink[Tile]):
    """A sink that puts tiles beside each other in `pixels` (h, w, 3) uint8, white between them, each scaled so that its
    longer side has `side` pixels; `size` is the height and width of their pictures, `places` the coordinates of each
    tile by its row and column."""

    def __init__(self, size: tuple[int, int], columns: int, rows: int, side: int) -> None:
        scale = side / max(size)
        self.height, self.width = (max(1, round(each * scale)) for each in size)
        self.columns, self.rows, self.side = columns, rows, side
        shape = (rows * (self.height + GAP) - GAP, columns * (self.width + GAP) - GAP, 3)
        self.pixels = np.full(shape, 255, np.uint8)
        self.places: dict[tuple[int, int], tuple[float, float]] = {}

    def write(self, record: Tile) -> None:
        """Put one picture in its place."""
        top, left = record.row * (self.height + GAP), record.column * (self.width + GAP)
        self.places[record.row, record.column] = record.place
        self.pixels[top : top + self.height, left : left + self.width] = to_uint8(
            _scaled(record.image, self.height, self.width)
        )

    def window(self, side: int) -> tuple[int, int]:
        """The height and width of a window of at most `side` pixels, no larger than the mosaic."""
        return min(side, self.pixels.shape[0]), min(side, self.pixels.shape[1])

    def cut(self, view: Crop) -> np.ndarray:
        """The pixels of a view."""
        (top, left), (height, width) = view.corner, view.window
        return self.pixels[top : top + height, left : left + width]


def _scaled(image: Tensor, height: int, width: int) -> Tensor:
    import torch

    if image.shape[-2:] == (height, width):
        return image
    return torch.nn.functional.interpolate(image, (height, width), mode="bilinear", antialias=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop(Record):
    """A part of a mosaic: a window of (height, width) pixels at its upper left `corner` (y, x)."""

    corner: tuple[int, int]
    window: tuple[int, int]


def pan(shape: tuple[int, int], window: tuple[int, int], frames: int | None = None) -> Iterator[Crop]:
    """Views of a picture of `shape` (height, width) through a `window`, along bands from the top, to the right and to
    the left in turn, at one speed and so that all of it is seen; 48 for the width of a window, or `frames`."""
    height, width = (max(0, full - part) for full, part in zip(shape, window))
    bands = np.linspace(0, height, -(-shape[0] // window[0]))
    path = np.array([(y, x) for band, y in enumerate(bands) for x in ((0, width), (width, 0))[band % 2]], float)
    reached = np.concatenate([[0.0], np.abs(np.diff(path, axis=0)).sum(1).cumsum()])
    count = frames or max(2, round(FRAMES_PER_WINDOW * reached[-1] / window[1]))
    places = np.linspace(0, reached[-1], count)
    ys, xs = (np.interp(places, reached, path[:, axis]).round().astype(int).tolist() for axis in (0, 1))
    for index, corner in enumerate(zip(ys, xs)):
        yield Crop(index=index, total=count - 1, corner=corner, window=window)
