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

    from latentflow.explore.atlas.layout import Atlas
    from latentflow.explore.atlas.placement import Placement

WIDTH, MAX_WIDTH = 2400, 3600  # pixels
MIN_CELL = 32  # pixels, below which the figure gets wider
LEFT, RIGHT, TOP, BOTTOM = 150, 50, 250, 140  # margins around the thumbnails, in pixels
LEGEND_ROW = 64  # pixels
CLUSTERS_PER_ROW = 5  # of the legend
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 26, 19, 15  # points
BACKGROUND = 255
MIN_FRAMED_CELL = 8  # pixels: in a smaller cell a frame would leave no room


def draw_atlas(atlas: Atlas, tiles: np.ndarray) -> Figure:
    """The figure of an atlas: its thumbnails `tiles` (n, side, side, 3), uint8, with axes, title and legend.

    It is 2400 pixels wide, or up to 3600 where the thumbnails would be too small. Raises `MissingPackageError` without
    matplotlib.
    """
    placement = atlas.placement
    cell = min(max((WIDTH - LEFT - RIGHT) // placement.columns, MIN_CELL), MAX_WIDTH // placement.columns)
    picture = mosaic(tiles, placement, atlas.frame_colors, cell)
    height, width = picture.shape[:2]
    top = TOP + LEGEND_ROW * ((len(atlas.clusters) - 1) // CLUSTERS_PER_ROW)
    full_width, full_height = LEFT + width + RIGHT, top + height + BOTTOM
    figure = new_figure(full_width / DPI, full_height / DPI)
    figure.set_layout_engine("none")  # the thumbnails keep their pixels
    axes = figure.add_axes((LEFT / full_width, BOTTOM / full_height, width / full_width, height / full_height))
    axes.imshow(picture, extent=placement.extent, interpolation="nearest")
    _label(axes, atlas)
    figure.text(LEFT / full_width, 1 - 30 / full_height, atlas.title, size=TITLE_SIZE, va="top")
    figure.text(LEFT / full_width, 1 - 92 / full_height, atlas.note, size=SMALL_SIZE, va="top", color="#555555")
    _legend(figure, atlas, (LEFT / full_width, 1 - 134 / full_height))
    return figure


def mosaic(tiles: np.ndarray, placement: Placement, colors: list[str], cell: int) -> np.ndarray:
    """Thumbnails (n, side, side, 3), uint8, in their cells of `cell` pixels, each in a frame of its color (#rrggbb), on
    white: (h, w, 3)."""
    canvas = np.full((placement.rows * cell, placement.columns * cell, 3), BACKGROUND, np.uint8)
    gap, line = (max(1, cell // 40), max(2, cell // 22)) if cell > MIN_FRAMED_CELL else (0, 1)
    side = cell - 2 * gap
    for tile, (column, row), color in zip(tiles, placement.cells, colors):
        framed = np.empty((side, side, 3), np.uint8)
        framed[:] = [int(color[first : first + 2], 16) for first in (1, 3, 5)]
        inner = max(1, side - 2 * line)
        framed[line : line + inner, line : line + inner] = np.asarray(resize(Image.fromarray(tile), inner, inner))
        canvas[row * cell + gap :, column * cell + gap :][:side, :side] = framed
    return canvas


def _label(axes: Axes, atlas: Atlas) -> None:
    axes.set_xlabel(atlas.axes[0], size=TEXT_SIZE)
    axes.set_ylabel(atlas.axes[1], size=TEXT_SIZE)
    axes.tick_params(labelsize=SMALL_SIZE)
    if not atlas.has_units:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, atlas: Atlas, corner: tuple[float, float]) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=cluster.color, label=str(cluster)) for cluster in atlas.clusters]
    # matplotlib fills columns, not rows
    handles = [patch for first in range(CLUSTERS_PER_ROW) for patch in patches[first::CLUSTERS_PER_ROW]]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=corner,
        ncols=CLUSTERS_PER_ROW,
        fontsize=SMALL_SIZE,
        title=atlas.legend,
        title_fontsize=SMALL_SIZE,
        alignment="left",
        frameon=False,
        borderpad=0,
        borderaxespad=0,
    )
