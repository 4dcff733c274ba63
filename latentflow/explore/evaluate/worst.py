"""The images that an autoencoder keeps least, with what it makes of them, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latentflow.pictures.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AMPLIFIED = 4  # what a difference is multiplied by, to be seen
MOST = 8  # images beside each other
SIDE = 2.6  # inches of a square picture
STRIP = 0.18  # inches of text under or above a picture


@dataclass(frozen=True, slots=True)
class Strip:
    """A line of the figure: its title, a picture (h, w, 3) uint8 an image, and what stands under each."""

    title: str
    pictures: list[np.ndarray]
    captions: list[str]


def difference(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """How far two pictures (h, w, 3) uint8 are apart, × 4, black where they agree."""
    apart = np.abs(one.astype(np.int16) - two.astype(np.int16))
    return (apart * AMPLIFIED).clip(0, 255).astype(np.uint8)


def draw_worst(title: str, names: Sequence[str], strips: Sequence[Strip]) -> Figure:
    """A figure with a row for each strip and a column for each image, or the other way round for few and for many."""
    upright = len(strips) <= len(names) <= MOST
    shapes = [picture.shape[0] / picture.shape[1] for picture in strips[0].pictures]
    if upright:  # pictures of one height, and room for a caption
        widths, heights = [SIDE * min(max(1 / shape, 0.9), 2) for shape in shapes], [SIDE + STRIP] * len(strips)
    else:
        widths, heights = [SIDE] * len(strips), [SIDE * min(shape, 2) + STRIP for shape in shapes]
    figure = new_figure(max(sum(widths), 2 * SIDE) + 0.4, sum(heights) + 0.7)
    figure.get_layout_engine().set(h_pad=0.02, hspace=0.0)  # type: ignore[call-arg, union-attr]
    axes = figure.subplots(len(heights), len(widths), squeeze=False, width_ratios=widths, height_ratios=heights)
    for line, strip in zip(axes if upright else axes.T, strips):
        for ax, picture, caption in zip(line, strip.pictures, strip.captions):
            ax.imshow(picture)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            ax.set_xlabel(caption, fontsize=9)
    titles, images = (
        [strip.title for strip in strips],
        [name if len(name) <= 30 else f"…{name[-29:]}" for name in names],
    )
    for ax, text in zip(axes[0], images if upright else titles):
        ax.set_title(text, fontsize=10)
    for ax, text in zip(axes[:, 0], titles if upright else images):
        ax.set_ylabel(text, fontsize=10)
    figure.suptitle(title, fontsize=12)
    return figure
