"""The images that are reconstructed worst, with their reconstructions, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latentflow.pictures.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AMPLIFICATION = 4  # of a difference, which could not be seen otherwise
MAX_COLUMNS = 8  # images beside each other
PICTURE_INCHES = 2.6  # of a square picture
TEXT_INCHES = 0.18  # under or above a picture
MAX_NAME_LENGTH = 30


@dataclass(frozen=True, slots=True)
class PictureRow:
    """One kind of picture for all images: its title, the pictures (h, w, 3), uint8, and a caption under each."""

    title: str
    pictures: list[np.ndarray]
    captions: list[str]


def difference(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """The absolute difference of two pictures (h, w, 3), uint8, times 4: black where they agree."""
    apart = np.abs(one.astype(np.int16) - two.astype(np.int16))
    return (apart * AMPLIFICATION).clip(0, 255).astype(np.uint8)


def draw_worst(title: str, names: Sequence[str], rows: Sequence[PictureRow]) -> Figure:
    """A figure with the `rows` one below the other and a column for each image, or turned by 90° where that fits the
    page better. Raises `MissingPackageError` without matplotlib."""
    upright = len(rows) <= len(names) <= MAX_COLUMNS
    ratios = [picture.shape[0] / picture.shape[1] for picture in rows[0].pictures]
    if upright:  # pictures of one height, wide enough for a caption
        widths = [PICTURE_INCHES * min(max(1 / ratio, 0.9), 2) for ratio in ratios]
        heights = [PICTURE_INCHES + TEXT_INCHES] * len(rows)
    else:
        widths = [PICTURE_INCHES] * len(rows)
        heights = [PICTURE_INCHES * min(ratio, 2) + TEXT_INCHES for ratio in ratios]
    figure = new_figure(max(sum(widths), 2 * PICTURE_INCHES) + 0.4, sum(heights) + 0.7)
    figure.get_layout_engine().set(h_pad=0.02, hspace=0.0)  # type: ignore[call-arg, union-attr]
    axes = figure.subplots(len(heights), len(widths), squeeze=False, width_ratios=widths, height_ratios=heights)
    for line, row in zip(axes if upright else axes.T, rows):
        for ax, picture, caption in zip(line, row.pictures, row.captions):
            ax.imshow(picture)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            ax.set_xlabel(caption, fontsize=9)
    titles, images = [row.title for row in rows], [_shortened(name) for name in names]
    for ax, text in zip(axes[0], images if upright else titles):
        ax.set_title(text, fontsize=10)
    for ax, text in zip(axes[:, 0], titles if upright else images):
        ax.set_ylabel(text, fontsize=10)
    figure.suptitle(title, fontsize=12)
    return figure


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else f"…{name[1 - MAX_NAME_LENGTH :]}"
