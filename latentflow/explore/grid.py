"""A plane of the latent space, decoded: as one figure, or panned across in a moving picture."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentflow.base.errors import InputError
from latentflow.base.options import counted
from latentflow.base.session import NOTHING_WRITTEN, Session
from latentflow.base.surroundings import undisturbed
from latentflow.explore.config import GridConfig
from latentflow.latents.decode import decode_frames
from latentflow.latents.planes import Plane, check_plane, make_plane
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.figure import DPI, check_figure_path, new_figure, save_figure
from latentflow.runs.job import Files, Job, Report, Stages, moving, run_job
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.config import OUTPUT_SUFFIXES
from latentflow.sinks.frames import check_frames_path, frame_options
from latentflow.sinks.mosaic import GAP, Mosaic, Tile, pan
from latentflow.sinks.progress import Progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FULL_SIZE_RESOLUTION = 5  # pictures per side: grids up to this are drawn at their size
GRID_PIXELS = 1200  # on a side, for pictures that are scaled
MIN_TILE_PIXELS = 32
MAX_PIXELS = 16_384  # on a side of all tiles together
LEFT, TOP, BOTTOM, MARGIN = 105, 50, 105, 20  # pixels around the tiles
SIDE, MIN_WIDTH, MIN_HEIGHT = 250, 420, 340  # pixels of the column beside them, and of all tiles together
CAPTION = 30  # pixels for the name of an original
MOST_TICKS = 9
WINDOW = 720  # pixels that a moving picture shows at once
UNIT = "standard deviations of a latent value (RMS)"
COLORS = ("tab:red", "tab:blue", "tab:green")  # of the points that a plane is defined by
FRAME_WIDTH = 3.0  # points
MOVING = ("frames", "fps", "loop", "bounce", "palette")  # options of moving pictures


@undisturbed
def decode_plane(autoencoder: Autoencoder, plane: Plane, columns: int, rows: int) -> Iterator[Tile]:
    """The pictures of a plane's `tiles`, row by row from the top: the edges, and exactly the points that it is defined
    by."""
    places = [place for row in plane.tiles(columns, rows) for place in row]
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


@undisturbed
def draw_plane(plane: Plane, mosaic: Mosaic, name: str) -> "Figure":
    """A decoded plane of the autoencoder `name`: its tiles, pixel by pixel, with the coordinates of their centers;
    beside them the originals of the tiles with frames, or a map of the images of a folder.

    Raises `MissingPackageError` without matplotlib.
    """
    height, width = mosaic.pixels.shape[:2]
    full_width = LEFT + max(width, MIN_WIDTH) + MARGIN + SIDE + MARGIN
    full_height = TOP + max(height, MIN_HEIGHT) + BOTTOM
    figure = new_figure(full_width / DPI, full_height / DPI)
    figure.set_layout_engine("none")  # the tiles keep their pixels

    def place(left: float, top: float, width: float, height: float) -> "Axes":
        """Axes at pixels from the upper left corner."""
        return figure.add_axes(
            (left / full_width, 1 - (top + height) / full_height, width / full_width, height / full_height)
        )

    axes = place(LEFT, TOP, width, height)
    axes.imshow(mosaic.pixels, interpolation="nearest", aspect="auto")
    _label_tiles(axes, plane, mosaic)
    figure.text(LEFT / full_width, 1 - 14 / full_height, f"A decoded plane of the latent space: {name}", va="top")
    left = LEFT + max(width, MIN_WIDTH) + MARGIN
    if plane.images is not None:
        _draw_map(place(left + 40, TOP + 30, SIDE - 40, SIDE - 40), plane)
        return figure
    colors, top = dict(zip(plane.marks, COLORS)), float(TOP)
    _frame_tiles(axes, plane, mosaic, colors)
    for original, picture in _beside(plane, mosaic).items():
        available = (full_height - TOP - MARGIN) / len(plane.marks) - CAPTION - MARGIN / 2
        scale = min(SIDE / picture.shape[1], available / picture.shape[0])
        shown = place(left, top + CAPTION, picture.shape[1] * scale, picture.shape[0] * scale)
        _draw_original(shown, original, picture, colors[original])
        top += CAPTION + picture.shape[0] * scale + MARGIN / 2
    return figure


def _label_tiles(axes: "Axes", plane: Plane, mosaic: Mosaic) -> None:
    """Coordinates at the centers of some of the columns and rows, and the names of the axes."""
    columns, rows = plane.lattice(mosaic.columns, mosaic.rows)
    for axis, values, pitch, half in (
        (axes.xaxis, columns, mosaic.width + GAP, mosaic.width / 2),
        (axes.yaxis, rows, mosaic.height + GAP, mosaic.height / 2),
    ):
        shown = range(0, len(values), -(-len(values) // MOST_TICKS))
        axis.set_ticks([each * pitch + half - 0.5 for each in shown], [_signed(values[each]) for each in shown])
    axes.set_xlabel(f"{plane.axes[0]}\nboth axes: {UNIT}", fontsize=9)
    axes.set_ylabel(plane.axes[1], fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[:].set_visible(False)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−") if abs(value) >= 0.005 else "0"


def _frame_tiles(axes: "Axes", plane: Plane, mosaic: Mosaic, colors: Mapping[str, str]) -> None:
    """A frame around the tile of each mark, in its color, in the gap between the tiles."""
    from matplotlib.patches import Rectangle

    for name in plane.marks:
        row, column = _tile_of(name, plane, mosaic)
        left, top = column * (mosaic.width + GAP) - 0.5 - GAP / 2, row * (mosaic.height + GAP) - 0.5 - GAP / 2
        frame = Rectangle((left, top), mosaic.width + GAP, mosaic.height + GAP, fill=False, color=colors[name])
        frame.set(linewidth=FRAME_WIDTH, label=name, clip_on=False)
        axes.add_patch(frame)


def _tile_of(name: str, plane: Plane, mosaic: Mosaic) -> tuple[int, int]:
    """Row and column of a mark's own tile."""
    return min(mosaic.places, key=lambda each: math.dist(mosaic.places[each], plane.marks[name]))


def _beside(plane: Plane, mosaic: Mosaic) -> dict[str, np.ndarray]:
    """The original of each mark under its name; the decoded picture of one that was no image."""
    found = {}
    for name in plane.marks:
        row, column = _tile_of(name, plane, mosaic)
        top, left = row * (mosaic.height + GAP), column * (mosaic.width + GAP)
        tile = mosaic.pixels[top : top + mosaic.height, left : left + mosaic.width]
        found[name] = plane.originals.get(name, tile)
    return found


def _draw_original(axes: "Axes", name: str, picture: np.ndarray, color: str) -> None:
    axes.imshow(picture, aspect="auto")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=color, linewidth=FRAME_WIDTH)
    axes.set_title(name if len(name) <= 30 else f"{name[:14]}…{name[-15:]}", fontsize=9, loc="left")


def _draw_map(axes: "Axes", plane: Plane) -> None:
    """Draw the positions of a folder's images on the plane, and the part of the plane that is decoded."""
    from matplotlib.patches import Rectangle

    assert plane.images is not None
    left, right, bottom, top = plane.extent
    axes.add_patch(Rectangle((left, bottom), right - left, top - bottom, facecolor="0.9", edgecolor="none"))
    axes.scatter(plane.images[:, 0], plane.images[:, 1], s=14, color="black", alpha=0.6, linewidths=0)
    axes.set_title(f"Places of the {counted(len(plane.images), 'image')},\ngray: what is decoded", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.set_aspect("auto")
    axes.autoscale_view()


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


def run_grid(sources: Sequence[str], config: GridConfig, session: Session) -> Report:
    """Decode a plane and draw it with its axes, or pan across it; raises `LatentflowError` as the parts do."""
    return run_job(Stages(check=_check, make=_make), sources, config, session)


def _moves(output: Path) -> bool:
    return output.suffix.lower() in OUTPUT_SUFFIXES or not output.suffix


def _check(sources: Sequence[str], config: GridConfig) -> Files:
    around = config.changed("reach", "seed")
    check_plane(sources, latent_of=config.latent_of, max_pixels=config.max_pixels, around=around)
    output = Path(config.output_path).expanduser()
    if _moves(output):
        check_frames_path(output, **frame_options(config))
    else:
        check_figure_path(output)
        given = config.changed(*MOVING)
        if given:
            raise InputError(f"`{given[0]}` would have no effect on a figure.", "Name a .gif or .mp4, or leave it out.")
    side = config.tile or _tile_pixels((config.size, config.size), config.resolution, moves=_moves(output))
    if (side + GAP) * config.resolution > MAX_PIXELS:
        raise InputError(
            f"{config.resolution} pictures of {side} pixels beside each other are more than {MAX_PIXELS} pixels.",
            "Choose a smaller `tile` or `resolution`.",
        )
    outputs = moving(output) if _moves(output) else [output]
    return Files(outputs=outputs, inputs=sources, shown={"plane": list(sources)})


def _make(job: Job[GridConfig]) -> None:
    config, report, count = job.config, job.report, job.config.resolution
    plane = make_plane(
        *(job.sources, job.autoencoder, config.size, config.fit, job.session, job.reader),
        seed=config.seed,
        reach=config.reach,
        latent_of=config.latent_of,
        written=report.written,
    )
    moves = _moves(job.output)
    mosaic = Mosaic(plane.size, count, count, config.tile or _tile_pixels(plane.size, count, moves=moves))
    window = mosaic.window(WINDOW)
    if moves and window == mosaic.pixels.shape[:2]:
        raise InputError(
            f"The whole plane fits into {window[1]} × {window[0]} pixels; there is nothing to pan across.",
            "Name a .png, or choose a larger `resolution` or `tile`.",
        )
    tiles = decode_plane(job.autoencoder, plane, count, count)
    progress = Progress(job.session, count * count - 1, lambda tile: "decoded", "picture")
    sinks: list[Sink[Any]] = [mosaic, progress]
    if moves:
        panned = {"rows": count, "columns": count, "side": mosaic.side, "window": WINDOW, "frames": config.frames}
        sinks.append(job.trajectory(job.output, plane.size, {"pan": panned}))
    run_sinks(job.session.watch(tiles, NOTHING_WRITTEN), sinks)
    report.figures = {"extent": list(plane.extent), "marks": plane.marks, "axes": list(plane.axes)}
    left, right, bottom, top = plane.extent
    report.lines = [
        f"plane    {plane.axes[0]} × {plane.axes[1]}",
        f"extent   {left:+.2f} to {right:+.2f} across, {bottom:+.2f} to {top:+.2f} up, in {UNIT}",
        f"tiles    {count} × {count}, {mosaic.width} × {mosaic.height} pixels each",
    ]
    if not moves:
        save_figure(draw_plane(plane, mosaic, job.autoencoder.name), job.output)
        return
    crops = list(pan(mosaic.pixels.shape[:2], window, config.frames))
    job.write_frames(job.output, crops, len(crops) - 1, lambda crop: "written", draw=mosaic.cut)


def _tile_pixels(size: tuple[int, int], resolution: int, *, moves: bool) -> int:
    """The longer side of a tile unless `tile` says it: that of its picture where that is not too large."""
    if moves or resolution <= FULL_SIZE_RESOLUTION:
        return max(size)
    return min(max(size), max(MIN_TILE_PIXELS, GRID_PIXELS // resolution))
