"""The figure of a plane's curvature: maps of its metric with ellipses and pictures, and two paths across it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from latentflow.base.surroundings import undisturbed
from latentflow.explore.curvature.metric import MetricAt
from latentflow.explore.grid import mark_plane
from latentflow.latents.planes import Plane
from latentflow.pictures.figure import new_figure, write_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Place = tuple[float, float]

TILES_ON_SHORT_SIDE = 6  # small pictures on the plane's shorter side
MAX_TILES_ON_LONG_SIDE = 24
TILE_WIDTH, ELLIPSE_WIDTH = 0.58, 0.54  # fractions of a pitch; ellipses between four tiles touch none of them
FIGURE_INCHES, MAPS_INCHES, STRIPS_INCHES = 16.0, 6.4, 15.2  # width of the figure, height of the maps, width of strips
DIFFERENCE_GAIN = 4
LOG_FACTOR = math.log(2)  # of area, for which colors change from one end to the other
SPEED = "gray levels per standard deviation"
COLORS = {"straight": "black", "geodesic": "#ff4a1c"}
LINES = {"straight": "-", "geodesic": (0, (3, 1.5))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """Coordinates on a plane: `points` where the metric is measured, row by row from the top with `columns` in each;
    the centers of `ellipses`; and of `tiles`, small pictures between them, `pitch` apart."""

    points: list[Place]
    columns: int
    ellipses: list[Place]
    tiles: list[Place]
    pitch: float


@undisturbed
def make_lattice(plane: Plane, resolution: int) -> Lattice:
    """A lattice of nearly square cells, with `resolution` points on the plane's longer side."""
    left, right, bottom, top = plane.extent
    width, height = right - left, top - bottom
    columns, rows = (max(2, round(resolution * side / max(width, height))) for side in (width, height))
    pitch = max(min(width, height) / TILES_ON_SHORT_SIDE, max(width, height) / MAX_TILES_ON_LONG_SIDE)
    across, up = (max(2, round(side / pitch)) for side in (width, height))
    xs, ys = np.linspace(left, right, across + 1).tolist(), np.linspace(bottom, top, up + 1).tolist()
    return Lattice(
        points=[place for line in plane.points(columns, rows) for place in line],
        columns=columns,
        ellipses=[(x, y) for y in ys[1:-1] for x in xs[1:-1]],
        tiles=[((x + x2) / 2, (y + y2) / 2) for y, y2 in pairwise(ys) for x, x2 in pairwise(xs)],
        pitch=pitch,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedPath:
    """A path across a plane: `places` (n, 2), the coordinates of its latents' projections on the plane; `steps`, the
    lengths of its pieces in pictures, in gray levels; and `pictures` (h, w, 3) uint8, evenly spaced by length."""

    places: np.ndarray
    steps: np.ndarray
    pictures: list[np.ndarray]

    @property
    def length(self) -> float:
        """Its length in pictures, in gray levels."""
        return float(self.steps.sum())


@undisturbed
def draw_curvature(
    name: str,
    plane: Plane,
    lattice: Lattice,
    metrics: Sequence[MetricAt],
    tiles: Sequence[np.ndarray],
    paths: Mapping[str, DecodedPath],
    chord: float,
    finding: str = "",
) -> "Figure":
    """The figure of the autoencoder `name`.

    `metrics` are those of the lattice's points, then those of its ellipses, `tiles` the pictures (h, w, 3) uint8 of its
    tiles. `paths` are the "straight" one and the "geodesic"; `chord` is the distance of the pictures at their ends, in
    gray levels; `finding` stands below.
    """
    strips = {f"{label}: {path.length:.1f} gray levels long": _strip(path.pictures) for label, path in paths.items()}
    straight, geodesic = paths["straight"], paths["geodesic"]
    strips[f"geodesic − straight, × {DIFFERENCE_GAIN}, around gray"] = _strip(
        [_difference(*pair) for pair in zip(straight.pictures, geodesic.pictures)]
    )
    strips_height = sum(STRIPS_INCHES * strip.shape[0] / strip.shape[1] + 0.3 for strip in strips.values())
    figure = new_figure(FIGURE_INCHES, MAPS_INCHES + strips_height)
    parts: Any = figure.subfigures(2, 1, height_ratios=[MAPS_INCHES, strips_height])
    layout = [["volume", "across", "up"], ["volume", "anisotropy", "speed"]]
    axes = parts[0].subplot_mosaic(layout, width_ratios=[2.3, 1, 1])
    measured, ellipses = metrics[: len(lattice.points)], metrics[len(lattice.points) :]
    _draw_maps(axes, plane, lattice, measured)
    _draw_tiles(axes["volume"], lattice, tiles)
    change = _draw_ellipses(axes["volume"], lattice, ellipses)
    _draw_paths(axes["volume"], paths)
    mark_plane(axes["volume"], plane)
    axes["volume"].set_title(
        f"Inside an ellipse the picture changes by less than {change:.2g} gray levels", fontsize=11
    )
    _draw_speeds(axes["speed"], paths, chord)
    parts[0].suptitle(f"Pull-back metric G = JᵀJ of the decoder on a plane: {name}", fontsize=14)
    for row, (title, strip) in zip(parts[1].subplots(len(strips), 1), strips.items()):
        row.imshow(strip)
        row.set_title(title, fontsize=11, loc="left")
        row.set_axis_off()
    write_below(parts[1], finding)
    return figure


def path_titles(paths: Mapping[str, DecodedPath]) -> list[list[str]]:
    """The name and the length of each path."""
    return [[f"{name}:", f"{path.length:.1f} gray levels"] for name, path in paths.items()]


def _draw_maps(axes: Mapping[str, "Axes"], plane: Plane, lattice: Lattice, metrics: Sequence[MetricAt]) -> None:
    dimensions = len(metrics[0].metric)
    volume = "log area element" if dimensions == 2 else f"log volume element in {dimensions} directions"
    volumes = [each.log_volume for each in metrics]
    _heat_map(axes["volume"], plane, lattice, volumes, color_range(volumes, LOG_FACTOR), f"{volume}  ½ ln det G")
    for index, name in enumerate(("across", "up")):
        speeds = [each.speeds[index] for each in metrics]
        _heat_map(axes[name], plane, lattice, speeds, color_range(speeds, low=0), SPEED, f"Speed {name}")
    ratios = [each.anisotropy for each in metrics]
    limits = color_range(ratios, 1.0, low=1)
    _heat_map(axes["anisotropy"], plane, lattice, ratios, limits, "fastest over slowest direction", "Anisotropy")


def color_range(values: Sequence[float], least: float = 0.0, low: float | None = None) -> tuple[float, float]:
    """The values between which colors change: those of the finite ones and, lest small differences look large, at least
    `least` of them, from `low` on if that is given, else around the middle."""
    finite = [value for value in values if np.isfinite(value)] or [0.0]
    first, last = (min(finite) if low is None else low), max(finite)
    missing = max(0.0, least - (last - first))
    return (first - missing / 2, last + missing / 2) if low is None else (first, last + missing)


def _heat_map(
    axes: "Axes",
    plane: Plane,
    lattice: Lattice,
    values: Sequence[float],
    limits: tuple[float, float],
    label: str,
    title: str = "",
) -> None:
    left, right, bottom, top = plane.extent
    grid = np.ma.masked_invalid(np.reshape(values, (-1, lattice.columns)))
    across, up = (right - left) / (grid.shape[1] - 1) / 2, (top - bottom) / (grid.shape[0] - 1) / 2
    extent = (left - across, right + across, bottom - up, top + up)
    low, high = limits
    shown = axes.imshow(grid, extent=extent, interpolation="bilinear", cmap="viridis", vmin=low, vmax=high)
    bar = axes.inset_axes((1.03, 0, 0.045, 1))  # as high as the map, which has a fixed aspect
    axes.figure.colorbar(shown, cax=bar, label=label)
    axes.set_title(title, fontsize=11)


def _draw_tiles(axes: "Axes", lattice: Lattice, pictures: Sequence[np.ndarray]) -> None:
    limits = axes.axis()
    for (x, y), picture in zip(lattice.tiles, pictures):
        height, width = picture.shape[:2]
        half = TILE_WIDTH / 2 * lattice.pitch / max(height, width)
        axes.imshow(
            picture, extent=(x - half * width, x + half * width, y - half * height, y + half * height), zorder=2
        )
    axes.axis(limits)


def _draw_ellipses(axes: "Axes", lattice: Lattice, metrics: Sequence[MetricAt]) -> float:
    """Draw Tissot's indicatrices {v: vᵀGv = r²}, and return r, in gray levels: the largest that fits between tiles."""
    from matplotlib.patches import Ellipse

    found = [(each.place, *np.linalg.eigh(each.metric[:2, :2])) for each in metrics]
    found = [each for each in found if each[1][0] > 0]
    slowest = min((values[0] for _, values, _ in found), default=0.0)
    change = ELLIPSE_WIDTH / 2 * lattice.pitch * float(np.sqrt(slowest))
    for place, values, vectors in found:
        longer, shorter = 2 * change / np.sqrt(values)
        angle = float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])))
        patch = Ellipse(place, longer, shorter, angle=angle, facecolor="#ffffff55", edgecolor="white", linewidth=1.3)
        axes.add_patch(patch).set_zorder(3)
    return change


def _draw_paths(axes: "Axes", paths: Mapping[str, DecodedPath]) -> None:
    for label, path in paths.items():
        axes.plot(*path.places.T, color="white", linewidth=5, zorder=4)
        axes.plot(*path.places.T, color=COLORS[label], linewidth=3, linestyle=LINES[label], zorder=5, label=label)


def _draw_speeds(axes: "Axes", paths: Mapping[str, DecodedPath], chord: float) -> None:
    for label, path in paths.items():
        fractions = (np.arange(len(path.steps)) + 0.5) / len(path.steps)
        speeds = path.steps * len(path.steps)
        axes.plot(fractions, speeds, color=COLORS[label], linewidth=2.5, linestyle=LINES[label], label=label)
    axes.axhline(chord, color="gray", linestyle=":", label="cross-fade of the ends")
    axes.set(xlabel="fraction of the path", ylabel="gray levels for the whole path")
    axes.set_ylim(0, 1.45 * axes.get_ylim()[1])  # room for the legend
    axes.set_title("Speed of change along both paths", fontsize=11)
    axes.legend(fontsize=9, loc="upper center")


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.clip(128 + DIFFERENCE_GAIN * (other.astype(int) - one), 0, 255).astype(np.uint8)


def _strip(pictures: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.full((len(pictures[0]), 4, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], 1)
