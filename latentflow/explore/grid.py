"""A plane of the latent space, decoded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latentflow.explore.config import GridConfig
from latentflow.explore.report import ViewReport, check_outputs, write_view_manifest
from latentflow.interrupts import NOTHING, Interrupts, Say
from latentflow.latents.planes import Plane, check_plane, make_plane
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.figure import check_figure_path, new_figure, save_figure
from latentflow.pictures.files import to_uint8
from latentflow.records import Frame
from latentflow.runs.run import load
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.progress import Progress

if TYPE_CHECKING:
    from types import TracebackType

    from matplotlib.axes import Axes

ASPECTS = (0.3, 3.0)  # height over width of the figure: narrower pictures are stretched
UNIT = "standard deviations of a latent value (RMS)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile(Frame):
    """The picture at a point of a plane, in row `row` from the top and column `column`."""

    row: int
    column: int
    place: tuple[float, float]


def decode_plane(autoencoder: Autoencoder, plane: Plane, columns: int, rows: int) -> Iterator[Tile]:
    """The pictures at evenly spread points of a plane, row by row from the top."""
    for row, places in enumerate(plane.points(columns, rows)):
        for column, place in enumerate(places):
            latent = plane.at(*place)
            with torch.no_grad():
                image = autoencoder.decode(latent, plane.size)
            yield Tile(
                index=row * columns + column,
                total=columns * rows - 1,
                latent=latent,
                image=image,
                row=row,
                column=column,
                place=place,
            )


class Mosaic:
    """A sink that puts tiles side by side, `pixels` (h, w, 3) uint8, each scaled so that its longer side is `side`."""

    def __init__(self, size: tuple[int, int], columns: int, rows: int, side: int) -> None:
        scale = side / max(size)
        self.height, self.width = (max(1, round(each * scale)) for each in size)
        self.pixels = np.full((rows * self.height, columns * self.width, 3), 255, np.uint8)

    def __enter__(self) -> "Mosaic":
        return self

    def write(self, record: Tile) -> None:
        """Put one picture in its place."""
        top, left = record.row * self.height, record.column * self.width
        self.pixels[top : top + self.height, left : left + self.width] = to_uint8(
            scaled(record.image, self.height, self.width)
        )

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        return None


def scaled(image: Tensor, height: int, width: int) -> Tensor:
    """A picture (1, 3, h, w) of another size."""
    if image.shape[-2:] == (height, width):
        return image
    return torch.nn.functional.interpolate(image, (height, width), mode="bilinear", antialias=True)


def mark(axes: "Axes", plane: Plane) -> None:
    """Say in a drawing of a plane where the points are that it was laid through, and what its axes are."""
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


def run_grid(
    sources: Sequence[str], config: GridConfig, interrupts: Interrupts, say: Say, *, quiet: bool = False
) -> ViewReport:
    """Decode a plane and draw it with its axes; raises `LatentflowError` as the parts do."""
    check_plane(sources)
    output = Path(config.output_path).expanduser()
    check_figure_path(output)
    check_outputs([output], sources)
    loaded = load(config, say)
    plane = make_plane(
        sources,
        loaded.autoencoder,
        config.size,
        config.fit,
        interrupts,
        say,
        seed=config.seed,
        reach=config.reach,
        quiet=quiet,
    )
    count = config.resolution
    mosaic = Mosaic(plane.size, count, count, max(plane.size) if count < 6 else max(32, 1200 // count))
    sinks: list[Sink[Tile]] = [mosaic]
    if not quiet:
        sinks.append(Progress(count * count - 1, describe=lambda tile: "decoded", unit="picture"))
    run_sinks(interrupts.watch(decode_plane(loaded.autoencoder, plane, count, count), NOTHING), sinks)
    left, right, bottom, top = plane.extent
    across, up = (right - left) / (count - 1) / 2, (top - bottom) / (count - 1) / 2
    tall = 8.5 * float(np.clip(mosaic.pixels.shape[0] / mosaic.pixels.shape[1], *ASPECTS))
    figure = new_figure(9.6, tall + 1.3)
    axes = figure.subplots()
    axes.imshow(
        mosaic.pixels,
        extent=(left - across, right + across, bottom - up, top + up),
        aspect="auto",
        interpolation="lanczos",
    )
    mark(axes, plane)
    axes.set_title(f"A decoded plane of the latent space: {loaded.autoencoder.name}", fontsize=12)
    save_figure(figure, output)
    report = ViewReport(written=[output, *plane.written])
    report.figures = {"extent": list(map(float, plane.extent)), "marks": plane.marks, "axes": list(plane.axes)}
    report.lines = [
        f"plane    {plane.axes[0]} × {plane.axes[1]}",
        f"extent   {left:+.2f} to {right:+.2f} across, {bottom:+.2f} to {top:+.2f} up, in {UNIT}",
    ]
    write_view_manifest(output, config, {"plane": list(sources)}, loaded, report)
    return report
