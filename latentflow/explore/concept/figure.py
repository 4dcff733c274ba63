"""The figure of a concept: an image moved along it, and where held-out images lie on it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from latentflow.explore.concept.directions import HeldOutScore
from latentflow.pictures.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCH = 1.9  # a picture
PLOT = 2.2  # inches, the height of the plot of held-out images
LEAST = 8.5  # inches, the width of that plot
MARKED = "tab:red"
COLORS = ("tab:orange", "tab:blue")


def draw_concept(
    name: str, names: tuple[str, str], pictures: Mapping[float, np.ndarray], judgement: HeldOutScore | None
) -> "Figure":
    """Pictures (h, w, 3) by their strengths in a row, the untouched one marked, above the positions of held-out images
    along the direction; without pictures or without a judgement, the other alone."""
    heights = [INCH + 0.3] * bool(pictures) + [PLOT] * (judgement is not None)
    width = max(len(pictures) * INCH, LEAST if judgement is not None else 0.0, 4.0)
    figure = new_figure(width, sum(heights) + 0.5)
    rows = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    if pictures:
        strip = rows[0].subgridspec(1, len(pictures))
        for place, (strength, picture) in enumerate(pictures.items()):
            _show(figure.add_subplot(strip[place]), picture, strength)
    if judgement is not None:
        _plot(figure.add_subplot(rows[-1]), names, judgement)
    figure.suptitle(f"Along the direction from {name}", fontsize=13)
    return figure


def _show(axes: "Axes", picture: np.ndarray, strength: float) -> None:
    axes.imshow(picture)
    axes.set(xticks=[], yticks=[])
    untouched = strength == 0
    axes.set_title(
        "untouched" if untouched else f"{strength:+g}".replace("-", "−"),
        fontsize=12,
        color=MARKED if untouched else "black",
    )
    for spine in axes.spines.values():
        spine.set(visible=untouched, color=MARKED, linewidth=3)


def _plot(axes: "Axes", names: tuple[str, str], judgement: HeldOutScore) -> None:
    """A dot an image, its group's color and row."""
    for row, positions in enumerate((judgement.positive, judgement.negative)):
        heights = row + 0.6 * (np.arange(len(positions)) / max(len(positions) - 1, 1) - 0.5)
        axes.scatter(positions, heights, s=22, color=COLORS[row], alpha=0.75, linewidths=0)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(names)), [f"{group} ({count})" for group, count in zip(names, _counts(judgement))])
    axes.set_ylim(1.5, -0.5)
    reach = 1.08 * max(float(np.abs(positions).max()) for positions in (judgement.positive, judgement.negative))
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("position of held-out images, in strengths; the line is the border")
    low, high = judgement.interval
    verdict = f"balanced accuracy {judgement.accuracy:.0%} (95% interval {low:.1%} to {high:.1%}; chance 50%)"
    if not judgement.tells_apart:
        axes.set_title(f"Does not tell the two apart: {verdict}", fontsize=11, color=MARKED)
    else:
        axes.set_title(f"Held out: {verdict}", fontsize=11)


def _counts(judgement: HeldOutScore) -> list[int]:
    return [len(judgement.positive), len(judgement.negative)]
