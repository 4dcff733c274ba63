"""The figure of a concept: an image moved along its direction, and the positions of held-out images."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from latentflow.explore.concept.directions import HeldOutScore
from latentflow.pictures.figure import new_figure, write_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE_INCHES = 1.9
PLOT_INCHES = 2.6  # height of the plot of held-out images
MIN_PLOT_INCHES = 8.5  # its width
MIN_INCHES = 4.0  # width of the figure
HIGHLIGHT = "tab:red"
COLORS = ("tab:orange", "tab:blue")


def draw_concept(
    name: str,
    groups: tuple[str, str],
    pictures: Mapping[float, np.ndarray],
    score: HeldOutScore | None,
    autoencoder: str = "",
    *,
    positions: Mapping[float, float] | None = None,
    images: tuple[float, float] | None = None,
) -> "Figure":
    """Pictures (h, w, 3) uint8 by their strengths in a row, the unchanged one highlighted, above the positions of
    held-out images along the direction; without pictures or without a score, the other alone.

    `name` is the direction in words, `groups` the names of the positive and the negative group, `autoencoder` the name
    of the autoencoder that it belongs to. `positions` are those of the pictures along the direction, by strength, from
    the decision border, and `images` is the range in which held-out images lie: pictures beyond it are marked.
    """
    positions = positions or {}
    heights = [PICTURE_INCHES + 0.5] * bool(pictures) + [PLOT_INCHES] * (score is not None)
    width = max(len(pictures) * PICTURE_INCHES, MIN_PLOT_INCHES if score is not None else 0.0, MIN_INCHES)
    figure = new_figure(width, sum(heights) + 0.5)
    rows = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    if pictures:
        strip = rows[0].subgridspec(1, len(pictures))
        for place, (strength, picture) in enumerate(pictures.items()):
            axes = figure.add_subplot(strip[place])
            _show(axes, picture, strength)
            if images is not None and strength in positions:
                _mark(axes, positions[strength], images)
    if score is not None:
        _plot(figure.add_subplot(rows[-1]), groups, score, positions)
    figure.suptitle(f"Along the direction from {name}", fontsize=13)
    write_below(figure, autoencoder=autoencoder)
    return figure


def _show(axes: "Axes", picture: np.ndarray, strength: float) -> None:
    axes.imshow(picture)
    axes.set(xticks=[], yticks=[])
    unchanged = strength == 0
    axes.set_title(
        "unchanged" if unchanged else f"{strength:+g}".replace("-", "−"),
        fontsize=12,
        color=HIGHLIGHT if unchanged else "black",
    )
    for spine in axes.spines.values():
        spine.set(visible=unchanged, color=HIGHLIGHT, linewidth=3)


def _mark(axes: "Axes", position: float, images: tuple[float, float]) -> None:
    beyond = not images[0] <= position <= images[1]
    words = "beyond all images" if beyond else "among the images"
    axes.set_xlabel(words, fontsize=9, color=HIGHLIGHT if beyond else "black")


def _plot(axes: "Axes", groups: tuple[str, str], score: HeldOutScore, moved: Mapping[float, float]) -> None:
    """A dot for each image, in its group's color and row, and a triangle for each moved picture above them."""
    positions = (score.positive, score.negative)
    for row, each in enumerate(positions):
        heights = row + 0.6 * (np.arange(len(each)) / max(len(each) - 1, 1) - 0.5)
        axes.scatter(each, heights, s=22, color=COLORS[row], alpha=0.75, linewidths=0)
    axes.axvline(0, color="black", linewidth=1)
    names = [f"{group} ({len(each)})" for group, each in zip(groups, positions)]
    if moved:
        axes.scatter(list(moved.values()), [-1] * len(moved), s=60, marker="v", color="black")
        for strength, position in moved.items():
            text = f"{strength:+g}".replace("-", "−") if strength else "unchanged"
            axes.annotate(text, (position, -1), (0, 6), textcoords="offset points", ha="center", fontsize=9)
    axes.set_yticks(range(-1 if moved else 0, 2), ["the image, moved"] * bool(moved) + names)
    axes.set_ylim(1.5, -1.8 if moved else -0.5)
    reach = 1.08 * max(float(np.abs(each).max()) for each in (*positions, list(moved.values()) or [0.0]))
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("position of held-out images in strengths, relative to the decision border")
    low, high = score.interval
    result = f"balanced accuracy {score.accuracy:.0%} (95% interval {low:.1%} to {high:.1%}; chance 50%)"
    if score.tells_apart:
        axes.set_title(f"Held out: {result}", fontsize=11)
    else:
        axes.set_title(f"Does not separate the two groups: {result}", fontsize=11, color=HIGHLIGHT)
