"""A plane of the latent space, decoded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latentflow.explore.config import GridConfig
from latentflow.explore.view import Files, Job, ViewReport, ViewSteps, run_view
from latentflow.latents.decode import decode_frames
from latentflow.latents.planes import Plane, check_plane, make_plane
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.figure import check_figure_path, new_figure, save_figure
from latentflow.pictures.files import to_uint8
from latentflow.records import Frame
from latentflow.session import NOTHING_WRITTEN, Session
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.progress import Progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ASPECT_LIMITS = (0.3, 3.0)  # height over width of the figure: narrower pictures are stretched
FULL_SIZE_RESOLUTION = 5  # grids of up to so many pictures a side are drawn at their size
GRID_PIXELS = 1200  # on a side, for pictures that are scaled
MIN_TILE_PIXELS = 32
UNIT = "standard deviations of a latent value (RMS)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile(Frame):
    """The picture at the coordinates `place` of a plane, in row `row` from the top and column `column`."""

    row: int
    column: int
    place: tuple[float, float]


def decode_plane(autoencoder: Autoencoder, plane: Plane, columns: int, rows: int) -> Iterator[Tile]:
    """The pictures at evenly spaced points of a plane, the edges included, row by row from the top."""
    places = [place for row in plane.points(columns, rows) for place in row]
    latents = (plane.at(*place) for place in places)
    for place, frame in zip(places, decode_frames(autoencoder, latents, plane.size, total=len(places) - 1)):
        row, column = divmod(frame.index, columns)
        yield Tile(
            index=frame.index,
            total=frame.total,
            latent=frame.latent,
            image=frame.image,
            row=row,
            column=column,
            place=place,
        )


class Mosaic(Sink[Tile]):
    """A sink that puts tiles side by side in `pixels` (h, w, 3) uint8, each scaled so that its longer side has `side`
    pixels; `size` is the height and width of their pictures."""

    def __init__(self, size: tuple[int, int], columns: int, rows: int, side: int) -> None:
        scale = side / max(size)
        self.height, self.width = (max(1, round(each * scale)) for each in size)
        self.columns, self.rows = columns, rows
        self.pixels = np.full((rows * self.height, columns * self.width, 3), 255, np.uint8)

    def write(self, record: Tile) -> None:
        """Put one picture in its place."""
        top, left = record.row * self.height, record.column * self.width
        self.pixels[top : top + self.height, left : left + self.width] = to_uint8(
            _scaled(record.image, self.height, self.width)
        )


def _scaled(image: Tensor, height: int, width: int) -> Tensor:
    if image.shape[-2:] == (height, width):
        return image
    return torch.nn.functional.interpolate(image, (height, width), mode="bilinear", antialias=True)


def draw_plane(plane: Plane, mosaic: Mosaic, name: str) -> "Figure":
    """A decoded plane of the autoencoder `name` with its axes; the center of each tile is at its coordinates."""
    left, right, bottom, top = plane.extent
    across, up = (right - left) / (mosaic.columns - 1) / 2, (top - bottom) / (mosaic.rows - 1) / 2
    height, width = mosaic.pixels.shape[:2]
    figure = new_figure(9.6, 8.5 * float(np.clip(height / width, *ASPECT_LIMITS)) + 1.3)
    axes = figure.subplots()
    axes.imshow(
        mosaic.pixels,
        extent=(left - across, right + across, bottom - up, top + up),
        aspect="auto",
        interpolation="lanczos",
    )
    mark_plane(axes, plane)
    axes.set_title(f"A decoded plane of the latent space: {name}", fontsize=12)
    return figure


def mark_plane(axes: "Axes", plane: Plane) -> None:
    """Mark the points that a plane is defined by, with their names, and label its axes."""
    for name, (x, y) in plane.marks.items():
        axes.plot(x, y, "o", markersize=9, markerfacecolor="none", markeredgecolor="black", markeredgewidth=4)
        axes.plot(x, y, "o", markersize=9, markerfacecolor="none", markeredgecolor="white", markeredgewidth=2)
        axes.annotate(
            name,
            (x, y),
            xytext=(0, 11),
            textcoords="offset points",
            ha="center",
            fontsize=10,
            color="white",
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "black", "edgecolor": "none", "alpha": 0.75},
        )
    axes.set_xlabel(f"{plane.axes[0]}\n{UNIT}")
    axes.set_ylabel(f"{plane.axes[1]}\n{UNIT}")


def run_grid(sources: Sequence[str], config: GridConfig, session: Session) -> ViewReport:
    """Decode a plane and draw it with its axes; raises `LatentflowError` as the parts do."""
    return run_view(ViewSteps(check=_check, make=_make), sources, config, session)


def _check(sources: Sequence[str], config: GridConfig) -> Files:
    check_plane(sources, latent_of=config.latent_of, max_pixels=config.max_pixels)
    output = Path(config.output_path).expanduser()
    check_figure_path(output)
    return Files(outputs=[output], inputs=sources, shown={"plane": list(sources)})


def _make(job: Job[GridConfig]) -> None:
    config, report, count = job.config, job.report, job.config.resolution
    plane = make_plane(
        *(job.sources, job.autoencoder, config.size, config.fit, job.session, job.reader),
        seed=config.seed,
        reach=config.reach,
        latent_of=config.latent_of,
        written=report.written,
    )
    mosaic = Mosaic(plane.size, count, count, _tile_pixels(plane.size, count))
    tiles = decode_plane(job.autoencoder, plane, count, count)
    progress = Progress(job.session, count * count - 1, lambda tile: "decoded", "picture")
    run_sinks(job.session.watch(tiles, NOTHING_WRITTEN), [mosaic, progress])
    save_figure(draw_plane(plane, mosaic, job.autoencoder.name), job.output)
    report.figures = {"extent": list(plane.extent), "marks": plane.marks, "axes": list(plane.axes)}
    left, right, bottom, top = plane.extent
    report.lines = [
        f"plane    {plane.axes[0]} × {plane.axes[1]}",
        f"extent   {left:+.2f} to {right:+.2f} across, {bottom:+.2f} to {top:+.2f} up, in {UNIT}",
    ]


def _tile_pixels(size: tuple[int, int], resolution: int) -> int:
    """The longer side of a tile."""
    return max(size) if resolution <= FULL_SIZE_RESOLUTION else max(MIN_TILE_PIXELS, GRID_PIXELS // resolution)
