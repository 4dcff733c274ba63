"""Frames and contact sheets: decoded pictures, the target beside them, figures in strips of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from latentflow.base.pixels import to_uint8
from latentflow.base.records import Comparison, Labeled, Step
from latentflow.pictures.text import BACKGROUND, captioned, line_count, text_block, titled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from latentflow.pictures.text import Text

MIN_LABEL = 96  # pixels of a contact sheet's row names
GAP = 4  # pixels between two pictures
ASPECT = 1.6  # width over height that rows of pictures come close to


class Drawing:
    """Draws a step as (h, w, 3) uint8: its picture, with the target (1, 3, h, w) to its left if `side_by_side`, scaled
    so that the longer side has `size` pixels if that is given, and step, loss and PSNR below if `caption`."""

    def __init__(
        self, target: Tensor, *, side_by_side: bool = False, caption: bool = False, size: int | None = None
    ) -> None:
        self.target = to_uint8(target)
        self.side_by_side, self.caption, self.size = side_by_side, caption, size
        self.lines: int | None = None  # of the caption: the same for all frames

    def __call__(self, step: Step) -> np.ndarray:
        picture = to_uint8(step.image)
        if self.side_by_side:
            picture = in_a_row([self.target, picture])
        if self.size is not None:
            picture = scaled(picture, self.size)
        if self.caption:
            words = describe_step(step)
            self.lines = self.lines or line_count(words, picture.shape[1])
            picture = captioned(picture, words, self.lines)
        return picture


class LabeledDrawing:
    """Draws a labeled frame as (h, w, 3) uint8: its pictures under their titles, in rows of `columns` or of as many as
    come close to 16 : 10, after the `target` (1, 3, h, w) if there is one, and below them the caption if `caption`.

    With `size` they are scaled so that the longer side of them all has about this number of pixels, before anything is
    written. `captions` are some that will come: all frames have room for the longest.
    """

    def __init__(
        self,
        *,
        columns: int | None = None,
        caption: bool = True,
        target: Tensor | None = None,
        size: int | None = None,
        captions: Iterable[Text] = (),
    ) -> None:
        self.captions = list(captions)
        self.columns, self.caption, self.target, self.size = columns, caption, target, size
        self.lines: tuple[int, int] | None = None  # of titles and caption: the same for all frames

    def __call__(self, frame: Labeled) -> np.ndarray:
        pictures, titles = [to_uint8(image) for image in frame.image.split(1)], list(frame.titles)
        if self.target is not None:
            pictures, titles = [to_uint8(self.target), *pictures], [["target"], *titles]
        if self.size is not None:
            factor = self.size / max(tiled(pictures, self.columns).shape[:2])
            pictures = [scaled(picture, max(1, round(factor * max(picture.shape[:2])))) for picture in pictures]
        if self.lines is None:
            above = most_lines(titles, pictures[0]) if titles else 0
            captions = [text for text in (frame.caption, *self.captions) if text]
            self.lines = above, most_lines(captions, tiled(pictures, self.columns)) if captions else 0
        if titles:
            pictures = [titled(picture, title, self.lines[0]) for picture, title in zip(pictures, titles)]
        drawn = tiled(pictures, self.columns)
        return captioned(drawn, frame.caption, self.lines[1]) if self.caption and frame.caption else drawn


def scaled(picture: np.ndarray, size: int) -> np.ndarray:
    """A picture (h, w, 3) uint8, scaled so that its longer side has `size` pixels."""
    factor = size / max(picture.shape[:2])
    height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def describe_step(step: Step) -> list[str]:
    """Step, loss (every term of a sum) and PSNR."""
    parts = [f"{label} {float(value[0]):.4f}" for label, value in step.parts.items()]
    width = len(str(step.total))  # padded, so that the text does not move from frame to frame
    return [f"step {step.index:>{width}}/{step.total}", *parts, f"{float(step.psnr[0]):5.2f} dB"]


class Panels:
    """Draws a comparison as (h, w, 3) uint8: the target (1, 3, h, w), then one panel for each run, in rows.

    A panel has its run's name above the picture, and below it PSNR and, if `distance` is given, the perceptual distance
    (n,) that it computes for pictures (n, 3, h, w) in [0, 1], under the label `name`.
    """

    def __init__(self, target: Tensor, distance: Callable[[Tensor], Tensor] | None = None, name: str = "") -> None:
        self.target, self.distance, self.name = to_uint8(target), distance, name
        self.lines: tuple[int, int] | None = None  # above and below each picture: the same for all frames

    def __call__(self, record: Comparison) -> np.ndarray:
        width = len(str(record.total))
        pictures = [self.target, *(to_uint8(step.image) for step in record.steps.values())]
        titles = ["target", *record.steps]
        figures = [[f"step {record.index:>{width}}/{record.total}"], *map(self._figures, record.steps.values())]
        self.lines = self.lines or (most_lines(titles, pictures[0]), most_lines(figures, pictures[0]))
        above, below = self.lines
        panels = zip(pictures, titles, figures)
        return tiled([titled(captioned(picture, words, below), title, above) for picture, title, words in panels])

    def _figures(self, step: Step) -> list[str]:
        figures = [f"{float(step.psnr[0]):5.2f} dB"]
        if self.distance is not None:
            figures.append(f"{self.name} {float(self.distance(step.image.clamp(0, 1))[0]):.3f}")
        return figures


def most_lines(texts: Iterable[Text], picture: np.ndarray) -> int:
    """The number of lines that the longest of these texts takes on a picture (h, w, 3)."""
    return max(line_count(text, picture.shape[1]) for text in texts)


def panels(pictures: Sequence[np.ndarray], titles: Sequence[Text]) -> list[np.ndarray]:
    """Pictures (h, w, 3) of one size under their titles."""
    lines = most_lines(titles, pictures[0])
    return [titled(picture, title, lines) for picture, title in zip(pictures, titles, strict=True)]


def tiled(panels: list[np.ndarray], columns: int | None = None) -> np.ndarray:
    """Pictures (h, w, 3) of one size in rows of `columns`, or of as many as give a total aspect close to 16 : 10, with
    gaps between columns."""
    height, width = panels[0].shape[:2]
    columns = columns or columns_for(len(panels), width, height)
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


def contact_sheet(
    title: str, target: np.ndarray, rows: dict[str, list[np.ndarray]], steps: list[str], figures: dict[str, list[str]]
) -> np.ndarray:
    """Under `title` the target (h, w, 3) and pictures of its size in `rows`, a column for each of the `steps`; each row
    has its name to the left, each picture its figures below."""
    height, width = target.shape[:2]
    label_width = max(MIN_LABEL, width)
    columns = panels([target, *next(iter(rows.values()))], ["target", *steps])
    header = in_a_row([_blank(len(columns[0]) - height, label_width), *(each[:-height] for each in columns)])
    words = [words for row in figures.values() for words in row]
    lines = most_lines(words, target)
    sheet = [text_block(title, header.shape[1]), header]
    for name, pictures in rows.items():
        label = text_block(name, label_width)
        cells = [captioned(each, text, lines) for each, text in zip([target, *pictures], ["", *figures[name]])]
        label = np.concatenate([label, _blank(max(0, len(cells[0]) - len(label)), label_width)])[: len(cells[0])]
        sheet.append(in_a_row([label, *cells]))
    return np.concatenate(sheet)


def _blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), BACKGROUND, np.uint8)
