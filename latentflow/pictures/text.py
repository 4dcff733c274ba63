"""Text on pictures, at any size of the picture at least `MIN_SIZE` pixels high: captions, titles and labels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from matplotlib.font_manager import FontEntry

BACKGROUND = (24, 24, 24)
TEXT_COLOR = (235, 235, 235)
STRIP_SHADES = np.linspace(BACKGROUND[0], TEXT_COLOR[0], 8).round().astype(np.uint8)  # few: a GIF has them exactly
MARGIN = 4  # pixels left and right of the text
MIN_SIZE, MAX_SIZE = 14, 20  # pixels of the font
SIZE_PER_WIDTH = 1 / 32  # of the font to the picture, between these
LINE_HEIGHT = 1.3  # of the font's size
DETAIL = 4  # factor: text is drawn this much larger, then reduced
FIGURE_FONT = "DejaVu Sans"  # comes with matplotlib
PLACEHOLDERS = "Last Resort"  # a font that has boxes for all characters
PLAIN = frozenset(map(chr, range(0x20, 0x7F))) | {"…"}  # what Pillow's own font has

Text = str | Sequence[str]


def text_size(width: int) -> int:
    """The size in pixels of the font on a picture of `width` pixels."""
    return min(max(MIN_SIZE, round(width * SIZE_PER_WIDTH)), MAX_SIZE)


def line_count(text: Text, width: int) -> int:
    """The number of lines that a text takes on a picture of `width` pixels, whatever its digits are."""
    parts = [re.sub(r"\d", "0", part) for part in _parts(text)]
    return len(_wrapped(parts, _Line(width, _font(text_size(width) * DETAIL, frozenset("".join(parts)) - PLAIN))))


def text_block(text: Text, width: int, lines: int | None = None) -> np.ndarray:
    """Text, aligned left, as a picture (h, width, 3) uint8 of as many lines as it takes, or of `lines`.

    A text in several parts is broken between these, then at spaces; a word wider than a line loses its middle, and so
    does a text of more than `lines`. Characters that the font lacks are drawn in one of the system's that has them.
    """
    size, parts = text_size(width), _parts(text)
    line = _Line(width, _font(size * DETAIL, frozenset("".join(parts)) - PLAIN))
    found = _wrapped(parts, line)
    if lines is not None and len(found) > lines:
        found = [*found[: lines - 1], line.cut(" ".join(found[lines - 1 :]))]
    height = round(LINE_HEIGHT * size)
    block = Image.new("L", (width * DETAIL, height * (lines or len(found)) * DETAIL))
    draw = ImageDraw.Draw(block)
    for number, words in enumerate(found):
        place = (MARGIN * DETAIL, (number + 0.5) * height * DETAIL)
        draw.text(place, words, fill=255, font=line.font, anchor="lm")
    shades = np.asarray(block.reduce(DETAIL), np.float32) * (len(STRIP_SHADES) - 1) / 255
    return np.repeat(STRIP_SHADES[shades.round().astype(int)][..., None], 3, 2)


def titled(picture: np.ndarray, text: Text, lines: int | None = None) -> np.ndarray:
    """A picture (h, w, 3) with text above it, as `text_block` writes it."""
    return np.concatenate([text_block(text, picture.shape[1], lines), picture])


def captioned(picture: np.ndarray, text: Text, lines: int | None = None) -> np.ndarray:
    """A picture (h, w, 3) with text below it, as `text_block` writes it."""
    return np.concatenate([picture, text_block(text, picture.shape[1], lines)])


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of text in a font, on a picture of `width` pixels."""

    width: int
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont

    def fits(self, text: str) -> bool:
        """Tell whether the text is no longer than the line."""
        return self.font.getlength(text) <= (self.width - 2 * MARGIN) * DETAIL

    def cut(self, text: str) -> str:
        """The text, or as much of its beginning and its end as fits."""
        kept = len(text)
        while kept > 1 and not self.fits(_without_middle(text, kept)):
            kept -= 1
        return _without_middle(text, kept)


def _without_middle(text: str, kept: int) -> str:
    return text if kept == len(text) else text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]


def _parts(text: Text) -> list[str]:
    return [printable(part) for part in ([text] if isinstance(text, str) else text)]


def _wrapped(parts: Sequence[str], line: _Line) -> list[str]:
    """The lines of a text: a part begins a new one unless all of it fits behind those before it."""
    lines: list[str] = []
    for part in parts:
        if lines and line.fits(f"{lines[-1]}  {part}"):
            lines[-1] += f"  {part}"
        elif line.fits(part):
            lines.append(part)
        else:
            lines += _words_wrapped(part.split(), line)
    return lines


def _words_wrapped(words: Sequence[str], line: _Line) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and line.fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines.append(line.cut(word))
    return lines


def printable(text: str) -> str:
    """A text with accents on their letters, and with "?" for bytes that aren't text, as in names that aren't UTF-8."""
    return unicodedata.normalize("NFC", text).encode(errors="replace").decode()


@cache
def _font(size: int, characters: frozenset[str]) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, or the one that has most of these characters."""
    font = font_with(characters) if characters else None
    return ImageFont.load_default(size) if font is None else ImageFont.truetype(font.fname, size, index=_index(font))


def _index(font: FontEntry) -> int:
    return int(getattr(font, "index", 0))


@cache
def font_with(characters: frozenset[str]) -> FontEntry | None:
    """The font of matplotlib or of the system that has most of these characters, upright and of usual weight where
    there are several; None if none has any. Reads the fonts on first use."""
    from matplotlib.font_manager import fontManager

    def preference(font: FontEntry) -> tuple[bool, bool, int, str, str]:
        return (
            font.name != FIGURE_FONT,
            font.style != "normal",
            abs(_weight(font.weight) - 400),
            font.name,
            font.fname,
        )

    best, most = None, 0
    fonts = [font for font in fontManager.ttflist if not font.name.startswith(PLACEHOLDERS)]
    for font in sorted(fonts, key=preference):
        count = len(characters & _characters(font.fname))
        if count > most:
            best, most = font, count
        if most == len(characters):
            break
    return best


def _weight(weight: str | int) -> int:
    from matplotlib.font_manager import weight_dict

    return weight if isinstance(weight, int) else int(weight_dict.get(weight, 400))


@cache
def _characters(path: str) -> frozenset[str]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):  # a font that was removed, or is broken
        return frozenset()


def fonts_for(text: str) -> list[str]:
    """The families of the fonts in which a figure shows a text: matplotlib's own, and one for the characters that it
    lacks."""
    characters = frozenset(text) - PLAIN - {"\n"}
    font = font_with(characters) if characters else None
    return [FIGURE_FONT] if font is None or font.name == FIGURE_FONT else [FIGURE_FONT, font.name]
