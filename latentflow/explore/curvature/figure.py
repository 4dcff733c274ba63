"""The drawing of a bent plane: maps of its metric, ellipses and pictures on it, and two ways across."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from latentflow.explore.curvature.metric import MetricAt
from latentflow.explore.grid import mark
from latentflow.latents.planes import Plane
from latentflow.pictures.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Place = tuple[float, float]

TILES = 6  # pictures on the plane's shorter side
MOST_TILES = 24  # on its longer one
TILE, ELLIPSE = 0.58, 0.54  # how wide they are, of a pitch: those between four tiles touch none
MAPS, STRIPS = 6.4, 15.2  # inches: height of the maps, width of the strips
EXAGGERATED = 4
SPEED = "grey levels a standard deviation"
COLORS = {"straight": "black", "geodesic": "#ff4a1c"}
LINES = {"straight": "-", "geodesic": (0, (3, 1.5))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """Where on a plane the metric is measured, `points` row by row from the top, `columns` in each; where `ellipses`
    are drawn; and where `tiles`, small pictures, go between them, `pitch` from one to the next."""

    points: list["Place"]
    columns: int
    ellipses: list["Place"]
    tiles: list["Place"]
    pitch: float


def lay_lattice(plane: Plane, resolution: int) -> Lattice:
    """About square meshes on a plane, with `resolution` points on its longer side."""
    left, right, bottom, top = plane.extent
    width, height = right - left, top - bottom
    columns, rows = (max(2, round(resolution * side / max(width, height))) for side in (width, height))
    pitch = max(min(width, height) / TILES, max(width, height) / MOST_TILES)
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
    """A way across a plane: the `places` above which it runs, how far its pictures move in each of equal parts of it,
    `stretches`, in grey levels, and a few of its `pictures` (h, w, 3), evenly spread over its length."""

    places: np.ndarray
    stretches: np.ndarray
    pictures: list[np.ndarray]

    @property
    def length(self) -> float:
        """Its length in pictures, in grey levels."""
        return float(self.stretches.sum())


def draw_bending(
    name: str,
    plane: Plane,
    lattice: Lattice,
    bends: Sequence[MetricAt],
    tiles: Sequence[np.ndarray],
    ways: dict[str, DecodedPath],
    chord: float,
) -> "Figure":
    """The whole figure; `bends` are those of the lattice's points, then those of its ellipses; `chord` is how far the
    ends' pictures are apart in grey levels."""
    strips = {f"{label}: {way.length:.1f} grey levels long": _strip(way.pictures) for label, way in ways.items()}
    one, other = ways.values()
    strips[f"their difference × {EXAGGERATED}, around grey"] = _strip(
        [_difference(*pair) for pair in zip(one.pictures, other.pictures)]
    )
    below = sum(STRIPS * strip.shape[0] / strip.shape[1] + 0.3 for strip in strips.values())
    figure = new_figure(16, MAPS + below)
    parts: Any = figure.subfigures(2, 1, height_ratios=[MAPS, below])
    _maps(parts[0], plane, lattice, bends, tiles, ways, chord)
    parts[0].suptitle(f"How the decoder bends a plane of its latent space, G = JᵀJ: {name}", fontsize=14)
    for row, (title, strip) in zip(parts[1].subplots(len(strips), 1), strips.items()):
        row.imshow(strip)
        row.set_title(title, fontsize=11, loc="left")
        row.set_axis_off()
    return figure


def _maps(
    figure: Any,
    plane: Plane,
    lattice: Lattice,
    bends: Sequence[MetricAt],
    tiles: Sequence[np.ndarray],
    ways: dict[str, DecodedPath],
    chord: float,
) -> None:
    layout = [["main", "across", "up"], ["main", "ratio", "way"]]
    axes = figure.subplot_mosaic(layout, width_ratios=[2.3, 1, 1])
    measured, ellipses = bends[: len(lattice.points)], bends[len(lattice.points) :]
    dimensions = len(bends[0].metric)
    volume = "log area element" if dimensions == 2 else f"log volume element in {dimensions} directions"
    _heat(axes["main"], plane, lattice, [bend.log_volume for bend in measured], f"{volume}  ½ ln det G")
    _tiles(axes["main"], lattice, tiles)
    change = _ellipses(axes["main"], lattice, ellipses)
    _ways(axes["main"], ways)
    mark(axes["main"], plane)
    axes["main"].set_title(f"Inside an ellipse the picture changes by less than {change:.2g} grey levels", fontsize=11)
    _heat(axes["across"], plane, lattice, [bend.speeds[0] for bend in measured], SPEED, "Speed across")
    _heat(axes["up"], plane, lattice, [bend.speeds[1] for bend in measured], SPEED, "Speed up")
    ratios = [bend.anisotropy for bend in measured]
    _heat(axes["ratio"], plane, lattice, ratios, "fastest over slowest direction", "Anisotropy")
    _speeds(axes["way"], ways, chord)


def _heat(axes: "Axes", plane: Plane, lattice: Lattice, values: Sequence[float], label: str, title: str = "") -> None:
    left, right, bottom, top = plane.extent
    grid = np.ma.masked_invalid(np.reshape(values, (-1, lattice.columns)))
    across, up = (right - left) / (grid.shape[1] - 1) / 2, (top - bottom) / (grid.shape[0] - 1) / 2
    extent = (left - across, right + across, bottom - up, top + up)
    shown = axes.imshow(grid, extent=extent, interpolation="bilinear", cmap="viridis")
    bar = axes.inset_axes((1.03, 0, 0.045, 1))  # as high as the map, which keeps its proportions
    axes.figure.colorbar(shown, cax=bar, label=label)
    axes.set_title(title, fontsize=11)


def _tiles(axes: "Axes", lattice: Lattice, pictures: Sequence[np.ndarray]) -> None:
    limits = axes.axis()
    for (x, y), picture in zip(lattice.tiles, pictures):
        height, width = picture.shape[:2]
        half = TILE / 2 * lattice.pitch / max(height, width)
        axes.imshow(
            picture, extent=(x - half * width, x + half * width, y - half * height, y + half * height), zorder=2
        )
    axes.axis(limits)


def _ellipses(axes: "Axes", lattice: Lattice, bends: Sequence[MetricAt]) -> float:
    """Tissot's indicatrices {v: vᵀGv = r²}, r such that they fit between the tiles; gives r, in grey levels."""
    from matplotlib.patches import Ellipse

    found = [(bend.place, *np.linalg.eigh(bend.metric[:2, :2])) for bend in bends]
    found = [each for each in found if each[1][0] > 0]
    slowest = min((values[0] for _, values, _ in found), default=0.0)
    change = ELLIPSE / 2 * lattice.pitch * float(np.sqrt(slowest))
    for place, values, vectors in found:
        longer, shorter = 2 * change / np.sqrt(values)
        angle = float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])))
        patch = Ellipse(place, longer, shorter, angle=angle, facecolor="#ffffff55", edgecolor="white", linewidth=1.3)
        axes.add_patch(patch).set_zorder(3)
    return change


def _ways(axes: "Axes", ways: dict[str, DecodedPath]) -> None:
    for label, way in ways.items():
        axes.plot(*way.places.T, color="white", linewidth=5, zorder=4)
        axes.plot(*way.places.T, color=COLORS[label], linewidth=3, linestyle=LINES[label], zorder=5)


def _speeds(axes: "Axes", ways: dict[str, DecodedPath], chord: float) -> None:
    for label, way in ways.items():
        shares = (np.arange(len(way.stretches)) + 0.5) / len(way.stretches)
        speeds = way.stretches * len(way.stretches)
        axes.plot(shares, speeds, color=COLORS[label], linewidth=2.5, linestyle=LINES[label], label=label)
    axes.axhline(chord, color="gray", linestyle=":", label="pictures mixed")
    axes.set(xlabel="share of the way", ylabel="grey levels a whole way")
    axes.set_title("Speed along both ways", fontsize=11)
    axes.legend(fontsize=9)


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.clip(128 + EXAGGERATED * (other.astype(int) - one), 0, 255).astype(np.uint8)


def _strip(pictures: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.full((len(pictures[0]), 4, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], 1)
