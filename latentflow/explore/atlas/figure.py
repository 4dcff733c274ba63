"""An atlas as one still figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from latentflow.pictures.figure import DPI, new_figure
from latentflow.pictures.files import resize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from latentflow.explore.atlas.placement import Placement
    from latentflow.explore.atlas.run import Atlas

WIDTH, MOST_WIDTH = 2400, 3600  # pixels
LEAST_CELL = 32  # pixels, before the figure gets wider
LEFT, RIGHT, TOP, BOTTOM = 150, 50, 250, 140  # margins around the thumbnails, in pixels
LINE = 64  # pixels of a row of the legend
IN_A_ROW = 5  # clusters of the legend
TITLE, TEXT, SMALL = 26, 19, 15  # points
PAPER = 255
FRAMED = 8  # pixels: of a smaller cell a frame would leave nothing


def draw_atlas(atlas: Atlas, tiles: np.ndarray) -> Figure:
    """The figure of an atlas with its thumbnails `tiles` (n, side, side, 3), uint8: axes, title, legend."""
    placement = atlas.placement
    cell = min(max((WIDTH - LEFT - RIGHT) // placement.columns, LEAST_CELL), MOST_WIDTH // placement.columns)
    picture = mosaic(tiles, placement, atlas.frames, cell)
    height, width = picture.shape[:2]
    top = TOP + LINE * ((len(atlas.clusters) - 1) // IN_A_ROW)
    whole, tall = LEFT + width + RIGHT, top + height + BOTTOM
    figure = new_figure(whole / DPI, tall / DPI)
    figure.set_layout_engine("none")  # the thumbnails keep their pixels
    axes = figure.add_axes((LEFT / whole, BOTTOM / tall, width / whole, height / tall))
    axes.imshow(picture, extent=placement.extent, interpolation="nearest")
    _label(axes, atlas)
    figure.text(LEFT / whole, 1 - 30 / tall, atlas.title, size=TITLE, va="top")
    figure.text(LEFT / whole, 1 - 92 / tall, atlas.note, size=SMALL, va="top", color="#555555")
    _legend(figure, atlas, (LEFT / whole, 1 - 134 / tall))
    return figure


def mosaic(tiles: np.ndarray, placement: Placement, frames: list[str], cell: int) -> np.ndarray:
    """Thumbnails (n, side, side, 3), uint8, in their cells of `cell` pixels, each in a frame of its color (#rrggbb)."""
    canvas = np.full((placement.rows * cell, placement.columns * cell, 3), PAPER, np.uint8)
    gap, line = (max(1, cell // 40), max(2, cell // 22)) if cell > FRAMED else (0, 1)
    side = cell - 2 * gap
    for tile, (column, row), color in zip(tiles, placement.cells, frames):
        framed = np.empty((side, side, 3), np.uint8)
        framed[:] = [int(color[first : first + 2], 16) for first in (1, 3, 5)]
        inner = max(1, side - 2 * line)
        framed[line : line + inner, line : line + inner] = np.asarray(resize(Image.fromarray(tile), inner, inner))
        canvas[row * cell + gap :, column * cell + gap :][:side, :side] = framed
    return canvas


def _label(axes: Axes, atlas: Atlas) -> None:
    axes.set_xlabel(atlas.axes[0], size=TEXT)
    axes.set_ylabel(atlas.axes[1], size=TEXT)
    axes.tick_params(labelsize=SMALL)
    if not atlas.has_units:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, atlas: Atlas, corner: tuple[float, float]) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=cluster.color, label=str(cluster)) for cluster in atlas.clusters]
    handles = [patch for first in range(IN_A_ROW) for patch in patches[first::IN_A_ROW]]  # it fills columns, not rows
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=corner,
        ncols=IN_A_ROW,
        fontsize=SMALL,
        title=atlas.legend,
        title_fontsize=SMALL,
        alignment="left",
        frameon=False,
        borderpad=0,
        borderaxespad=0,
    )
