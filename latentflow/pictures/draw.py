"""What frames and contact sheets show: decoded pictures, the target beside them, figures in strips of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from latentflow.pictures.files import to_uint8
from latentflow.pictures.text import BACKGROUND, captioned, text_strip, title_height, titled
from latentflow.records import Comparison, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

GAP = 4  # pixels between two pictures
ASPECT = 1.6  # width over height that rows of pictures come close to


class Drawing:
    """Draws a step as (h, w, 3) uint8: its picture, with the target (1, 3, h, w) to its left if `side_by_side`, and
    step, loss and PSNR in a strip below if `caption`."""

    def __init__(self, target: Tensor, *, side_by_side: bool = False, caption: bool = False) -> None:
        self.target = to_uint8(target)
        self.side_by_side, self.caption = side_by_side, caption

    def __call__(self, step: Step) -> np.ndarray:
        picture = to_uint8(step.image)
        if self.side_by_side:
            picture = in_a_row([self.target, picture])
        if self.caption:
            picture = captioned(picture, describe_step(step))
        return picture


def describe_step(step: Step) -> str:
    """Step, loss (every term of a sum) and PSNR in one line."""
    parts = [f"{label} {float(value[0]):.4f}" for label, value in step.parts.items()]
    width = len(str(step.total))  # padded, so that the text does not move from frame to frame
    return "  ".join([f"step {step.index:>{width}}/{step.total}", *parts, f"{float(step.psnr[0]):5.2f} dB"])


class Panels:
    """Draws a comparison as (h, w, 3) uint8: the target (1, 3, h, w), then one panel for each run, in rows.

    A panel has its run's name above the picture, and below it PSNR and, if `distance` is given, the perceptual distance
    (n,) that it computes for pictures (n, 3, h, w) in [0, 1], under the label `name`.
    """

    def __init__(self, target: Tensor, distance: Callable[[Tensor], Tensor] | None = None, name: str = "") -> None:
        self.target, self.distance, self.name = to_uint8(target), distance, name

    def __call__(self, record: Comparison) -> np.ndarray:
        width = len(str(record.total))
        panels = [_panel(self.target, "target", f"step {record.index:>{width}}/{record.total}")]
        panels += [_panel(to_uint8(step.image), name, self._figures(step)) for name, step in record.steps.items()]
        return tiled(panels)

    def _figures(self, step: Step) -> str:
        figures = f"{float(step.psnr[0]):5.2f} dB"
        if self.distance is not None:
            figures += f"  {self.name} {float(self.distance(step.image.clamp(0, 1))[0]):.3f}"
        return figures


def _panel(picture: np.ndarray, title: str, figures: str) -> np.ndarray:
    width = picture.shape[1]
    return np.concatenate([titled(picture, title), text_strip(figures, width, title_height(width))])


def tiled(panels: list[np.ndarray]) -> np.ndarray:
    """Pictures (h, w, 3) of one size in rows, with gaps between columns and a total aspect close to 16 : 10."""
    height, width = panels[0].shape[:2]
    columns = columns_for(len(panels), width, height)
    panels = panels + [_blank(height, width)] * (-len(panels) % columns)
    return np.concatenate([in_a_row(panels[first : first + columns]) for first in range(0, len(panels), columns)])


def in_a_row(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures (h, w, 3) of one height from left to right, with a white gap between any two."""
    gap = np.full((len(pictures[0]), GAP, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], 1)


def columns_for(count: int, width: int, height: int) -> int:
    """The number of columns in which `count` pictures of width × height come close to 16 : 10 with few gaps."""
    return min(
        range(1, count + 1),
        key=lambda columns: (
            abs(np.log(columns * width / (-(-count // columns) * height) / ASPECT)) + 0.3 * (-count % columns) / columns
        ),
    )


def contact_sheet(rows: dict[str, list[np.ndarray]], titles: list[str]) -> np.ndarray:
    """Pictures (h, w, 3) in rows, the name of each row to its left, under one title for each column."""
    first = next(iter(rows.values()))[0]
    height, width = first.shape[:2]
    margin, line = max(60, width // 2), max(13, width // 14)
    header = [_blank(line, margin), *(text_strip(title, width, line) for title in titles)]
    sheet = [np.concatenate(header, 1)]
    for name, pictures in rows.items():
        label = _blank(height, margin)
        label[(height - line) // 2 :][:line] = text_strip(name, margin, line)
        sheet.append(np.concatenate([label, *pictures], 1))
    return np.concatenate(sheet)


def _blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), BACKGROUND, np.uint8)
