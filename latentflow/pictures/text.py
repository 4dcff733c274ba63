"""Text on pictures: one line in a strip above or below a picture."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

BACKGROUND = (24, 24, 24)
TEXT_COLOR = (235, 235, 235)
STRIP_SHADES = np.linspace(BACKGROUND[0], TEXT_COLOR[0], 8).round().astype(np.uint8)  # few: a GIF has them exactly
MARGIN = 4  # pixels left and right of the text
MIN_FONT_SIZE = 5


def text_strip(text: str, width: int, height: int) -> np.ndarray:
    """A line of text, aligned left, as a picture (height, width, 3) uint8; the font shrinks until the text fits."""
    strip = Image.new("L", (width, height))
    size = height * 0.6
    while _font(size).getlength(text) > width - 2 * MARGIN and size > MIN_FONT_SIZE:
        size *= 0.9
    ImageDraw.Draw(strip).text((MARGIN, height / 2), text, fill=len(STRIP_SHADES) - 1, font=_font(size), anchor="lm")
    return np.repeat(STRIP_SHADES[np.asarray(strip)][..., None], 3, 2)


def titled(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture (h, w, 3) with a line of text in a strip above it."""
    width = picture.shape[1]
    return np.concatenate([text_strip(text, width, title_height(width)), picture])


def captioned(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture (h, w, 3) with a line of text in a strip below it."""
    width = picture.shape[1]
    return np.concatenate([picture, text_strip(text, width, max(14, min(28, width // 18)))])


def title_height(width: int) -> int:
    """The height of the title of a picture of `width` pixels."""
    return max(13, width // 16)


@cache
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
