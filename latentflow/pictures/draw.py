"""What a frame shows: the decoded picture, the target beside it, a caption under it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from latentflow.pictures.files import to_uint8
from latentflow.records import Comparison, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

GAP = 4


class Drawing:
    """Draws a step as (h, w, 3) uint8: its picture, with the target (1, 3, h, w) at its left if `side_by_side`, and
    step, loss and PSNR in a strip below if `caption`."""

    def __init__(self, target: Tensor, *, side_by_side: bool = False, caption: bool = False) -> None:
        self.target = to_uint8(target)
        self.side_by_side, self.caption = side_by_side, caption

    def __call__(self, step: Step) -> np.ndarray:
        picture = to_uint8(step.image)
        if self.side_by_side:
            gap = np.full((len(picture), GAP, 3), 255, np.uint8)
            picture = np.concatenate([self.target, gap, picture], axis=1)
        if self.caption:
            picture = captioned(picture, caption(step))
        return picture


class Panels:
    """Draws a comparison as (h, w, 3) uint8: the target (1, 3, h, w) first, then a panel a run, in rows, each with its
    name and its PSNR and, if `likeness` is given, the perceptual distance (n,) that it measures of a picture."""

    def __init__(self, target: Tensor, likeness: Callable[[Tensor], Tensor] | None = None, name: str = "") -> None:
        self.target, self.likeness, self.name = to_uint8(target), likeness, name

    def __call__(self, record: Comparison) -> np.ndarray:
        width = len(str(record.total))
        panels = [self._panel(self.target, "target", f"step {record.index:>{width}}/{record.total}")]
        panels += [
            self._panel(to_uint8(step.image), title, self._figures(step)) for title, step in record.steps.items()
        ]
        return tiled(panels)

    def _figures(self, step: Step) -> str:
        likeness = (
            "" if self.likeness is None else f"  {self.name} {float(self.likeness(step.image.clamp(0, 1))[0]):.3f}"
        )
        return f"{float(step.psnr[0]):5.2f} dB{likeness}"

    def _panel(self, picture: np.ndarray, title: str, figures: str) -> np.ndarray:
        height, width = max(13, picture.shape[1] // 16), picture.shape[1]
        return np.concatenate([_strip(title, width, height), picture, _strip(figures, width, height)])


def tiled(panels: list[np.ndarray]) -> np.ndarray:
    """Pictures (h, w, 3) of one size in rows, together about as wide as 16 : 10."""
    height, width = panels[0].shape[:2]
    columns = columns_for(len(panels), width, height)
    panels = panels + [np.full_like(panels[0], 24)] * (-len(panels) % columns)
    return np.concatenate(
        [np.concatenate(panels[first : first + columns], 1) for first in range(0, len(panels), columns)]
    )


def titled(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture (h, w, 3) with a line of text in a strip above it."""
    width = picture.shape[1]
    return np.concatenate([_strip(text, width, max(13, width // 16)), picture])


def columns_for(count: int, width: int, height: int) -> int:
    """How many columns show `count` pictures of width × height most nearly as wide as 16 : 10, with few gaps."""
    return min(
        range(1, count + 1),
        key=lambda columns: (
            abs(np.log(columns * width / (-(-count // columns) * height) / 1.6)) + 0.3 * (-count % columns) / columns
        ),
    )


def contact_sheet(rows: dict[str, list[np.ndarray]], titles: list[str]) -> np.ndarray:
    """Pictures (h, w, 3) in rows with a name each, under a row of titles."""
    first = next(iter(rows.values()))[0]
    height, width = first.shape[:2]
    margin, line = max(60, width // 2), max(13, width // 14)
    header = [np.full((line, margin, 3), 24, np.uint8), *(_strip(title, width, line) for title in titles)]
    sheet = [np.concatenate(header, 1)]
    for name, pictures in rows.items():
        label = np.full((height, margin, 3), 24, np.uint8)
        label[(height - line) // 2 :][:line] = _strip(name, margin, line)
        sheet.append(np.concatenate([label, *pictures], 1))
    return np.concatenate(sheet)


def captioned(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture (h, w, 3) with a line of text in a strip below it."""
    width = picture.shape[1]
    return np.concatenate([picture, _strip(text, width, max(14, min(28, width // 18)))])


def caption(step: Step) -> str:
    """Step, loss (every term of a sum) and PSNR in one line."""
    parts = [f"{label} {float(value[0]):.4f}" for label, value in step.parts.items()]
    width = len(str(step.total))  # figures that keep their place don't dance
    return "  ".join([f"step {step.index:>{width}}/{step.total}", *parts, f"{float(step.psnr[0]):5.2f} dB"])


def _strip(text: str, width: int, height: int) -> np.ndarray:
    strip = Image.new("RGB", (width, height), (24, 24, 24))
    font_size = height * 0.6
    while _font(font_size).getlength(text) > width - 8 and font_size > 5:
        font_size *= 0.9
    ImageDraw.Draw(strip).text((4, height / 2), text, fill=(235, 235, 235), font=_font(font_size), anchor="lm")
    return np.asarray(strip)


@cache
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
