"""Animated GIFs, frame by frame: what changes from one to the next, in colors of its own.

Pillow compresses; the blocks around that are written here, because Pillow keeps all frames until it writes the file,
and ffmpeg repeats what doesn't change unless all frames share a palette. https://www.w3.org/Graphics/GIF/spec-gif89a.txt
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latentflow.pictures.palette import choose_palette, dithered, exact_pixels, sample_colors

COLORS = 255  # of a palette: one index is left for pixels that stay as they are
TRANSPARENT = COLORS
COLOR_BITS = 8
FULL_TABLE = 0x80 | (COLOR_BITS - 1)  # a table of 2 ** COLOR_BITS colors follows
KEEP_AND_TRANSPARENT = 0x05  # the frame stays under the next one; one index is transparent


class Gif:
    """A GIF at `path` that is played `loop` times, forever if 0; with a `palette` (≤ 255, 3) uint8 all
    frames have its colors, else each has a palette of its own.

    Where a picture has the same pixels as the one before, the file has no new ones, so they don't flicker.
    """

    def __init__(self, path: Path, *, loop: int = 0, palette: np.ndarray | None = None) -> None:
        self.path, self.loop, self.palette = path, loop, palette
        self._before: np.ndarray | None = None
        self._seconds = 0.0
        self._failure: OSError | None = None  # after it the file ends somewhere in a block: nothing may follow

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Append a picture (h, w, 3) uint8 that is shown for `seconds`; raises `OSError`."""
        if self._before is None:
            self.path.write_bytes(self._header(*picture.shape[1::-1]))
            changed = np.ones(picture.shape[:2], bool)
        else:
            red, green, blue = np.moveaxis(picture != self._before, 2, 0)
            changed = red | green | blue
        self._before = picture
        rows, columns = _extent(changed.any(1)), _extent(changed.any(0))
        image = self._image(picture[rows, columns], changed[rows, columns], columns.start, rows.start)
        self._append(self._control(seconds) + image)

    def finish(self) -> None:
        """End the file; raises `OSError`."""
        self._append(b";")

    def _append(self, block: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            with self.path.open("ab") as file:
                file.write(block)
        except OSError as error:
            self._failure = error
            raise

    def _header(self, width: int, height: int) -> bytes:
        header = b"GIF89a" + struct.pack("<HH", width, height)
        header += bytes(3) if self.palette is None else bytes([FULL_TABLE, 0, 0]) + _table(self.palette)
        if self.loop == 1:
            return header
        # the number of repetitions after the first time; 0 is forever
        return header + b"!\xff\x0bNETSCAPE2.0" + struct.pack("<BBHB", 3, 1, max(0, self.loop - 1), 0)

    def _control(self, seconds: float) -> bytes:
        begin, self._seconds = self._seconds, self._seconds + seconds
        delay = round(100 * self._seconds) - round(100 * begin)
        return b"!\xf9\x04" + struct.pack("<BHBB", KEEP_AND_TRANSPARENT, delay, TRANSPARENT, 0)

    def _image(self, picture: np.ndarray, changed: np.ndarray, left: int, top: int) -> bytes:
        exact, palette, own = exact_pixels(picture), self.palette, b""
        if palette is None:
            palette = choose_palette(*sample_colors(picture, changed & ~exact), COLORS)
            own = _table(palette)
        indices = dithered(picture, palette, exact, changed)
        indices[~changed] = TRANSPARENT
        height, width = indices.shape
        place = struct.pack("<HHHHB", left, top, width, height, FULL_TABLE if own else 0)
        pixels = Image.fromarray(indices).tobytes("gif", "L", COLOR_BITS, 0)
        return b"," + place + own + bytes([COLOR_BITS]) + pixels + b"\0"


def _extent(inside: Any) -> slice:
    """From the first to the last True; the first place when there is none, because a frame has one pixel at least."""
    places = np.flatnonzero(inside)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 1)


def _table(palette: np.ndarray) -> bytes:
    return palette.tobytes().ljust(3 << COLOR_BITS, b"\0")
