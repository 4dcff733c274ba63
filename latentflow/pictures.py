"""What a frame shows: the decoded picture, the target beside it, a caption under it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from latentflow.images import to_uint8
from latentflow.records import Step

if TYPE_CHECKING:
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
            strip = _strip(caption(step), picture.shape[1], max(14, min(28, picture.shape[1] // 18)))
            picture = np.concatenate([picture, strip])
        return picture


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
