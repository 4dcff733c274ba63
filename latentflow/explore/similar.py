"""The images of a folder that are nearest to one in the latent space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.options import counted
from latentflow.base.pixels import to_uint8
from latentflow.base.session import Session
from latentflow.base.surroundings import undisturbed
from latentflow.explore.config import SimilarConfig
from latentflow.explore.distances import DEFAULT_DISTANCE, DISTANCES, Space
from latentflow.latents.index import FolderLatents, check_folder, check_index, read_latents, read_squares
from latentflow.latents.sources import Anchors, check_anchors, parse_source, read_anchors
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.figure import check_figure_path, new_figure, save_figure, write_below
from latentflow.pictures.reader import Reader
from latentflow.runs.job import Files, Job, Report, Stages, finite, run_job
from latentflow.runs.report import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MATCHES_PER_ROW = 5
PICTURE_INCHES = 1.9
MAX_NAME_LENGTH = 24  # letters under a picture


@dataclass(frozen=True, slots=True)
class Neighbor:
    """The `index` of a latent among those searched, and its `distance` from the query."""

    index: int
    distance: float


@undisturbed
def nearest(
    query: Tensor, latents: Tensor, count: int, distance: str = DEFAULT_DISTANCE, exclude: Sequence[int] = ()
) -> list[Neighbor]:
    """The `count` latents of (n, c, rows, columns) that are nearest to a query (1, c, rows, columns), nearest first;
    fewer where there are fewer. Those at the indices `exclude` are left out; equal distances keep their order.

    `distance` is moments (1 − cosine of each channel's means and standard deviations in 4 × 4 parts, less their mean
    over the latents), pooled, cosine or l2. Raises `InputError` for any other name and for a query of a different
    shape.
    """
    return nearest_in(Space(latents, distance), query, count, exclude)


def nearest_in(space: Space, query: Tensor, count: int, exclude: Sequence[int] = ()) -> list[Neighbor]:
    """`nearest` in a space that is there already, for several queries."""
    distances = space.from_query(query)
    distances[list(exclude)] = math.inf
    order = distances.argsort(stable=True)[: min(count, len(distances) - len(exclude))]
    return [Neighbor(int(index), float(distances[index])) for index in order]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """An image of a folder as it is drawn: `picture` is (h, w, 3) uint8, `distance` that from the query."""

    name: str
    picture: np.ndarray
    distance: float


def run_similar(sources: Sequence[str], config: SimilarConfig, session: Session) -> Report:
    """Find the images nearest to a query in a folder, the two sources, and draw them; raises `LatentflowError` as its
    parts do. The query's own file is left out."""
    return run_job(Stages(check=_check, make=_make), sources, config, session)


def _check(sources: Sequence[str], config: SimilarConfig) -> Files:
    query, folder = sources[0], Path(sources[1]).expanduser()
    check_anchors([query], 1, 1, latent_of=config.latent_of, max_pixels=config.max_pixels)
    check_folder(folder)
    output = Path(config.output_path).expanduser()
    check_figure_path(output)
    index = check_index(config.index)
    if index is not None and index.resolve() == Path(query).expanduser().resolve():
        raise InputError(f"`index` {index} is the query's file.", "Name another.")
    return Files(outputs=[output], inputs=[folder, query], shown={"query": query, "folder": str(folder)})


def _make(job: Job[SimilarConfig]) -> None:
    config, report, autoencoder = job.config, job.report, job.autoencoder
    query, folder, index = job.sources[0], Path(job.sources[1]).expanduser(), check_index(job.config.index)
    anchor = _read_query(query, job)
    found = read_latents(folder, autoencoder, config.size, job.session, job.reader, path=index, written=report.written)
    space = Space(found.latents, config.distance)
    neighbors = nearest_in(space, anchor.latents.cpu(), config.count, _own_file(query, found))
    if not neighbors:
        raise InputError(f"The folder {folder} holds no image but the query itself.")
    picture = _picture(anchor, autoencoder)
    matches = [_match(found, neighbor, job.reader) for neighbor in neighbors]
    median = finite(space.median())
    shown = (anchor.names[0], picture, matches, len(found.names), config.distance, median, autoencoder.name)
    figure = draw_similar(*shown)
    save_figure(figure, job.output)
    listed = [{"image": str(found.paths[each.index]), "distance": each.distance} for each in neighbors]
    report.figures = {"distance": config.distance, "median_distance": median, "neighbors": listed}
    report.figures |= {"images": len(found.names), "encoded": found.encoded, "unreadable": sorted(found.problems)}
    report.lines = [
        f"searched {counted(len(found.names), 'image')}, {found.encoded} newly encoded",
        *table(["nearest", config.distance], [[str(each["image"]), f"{each['distance']:.4f}"] for each in listed]),
        *([] if median is None else [f"scale    two of these images are {median:.4f} apart (median of all pairs)"]),
    ]


def _read_query(query: str, job: Job[SimilarConfig]) -> Anchors:
    """The query as a square of the folder's size."""
    size, latent_of = job.config.size, job.config.latent_of
    anchor = read_anchors([query], job.autoencoder, size, "cover", job.reader, latent_of=latent_of)
    if anchor.size != (size, size):
        height, width = anchor.size
        raise InputError(
            f"{query} is the latent of a picture of {width} × {height} pixels; squares of `size` {size} are compared."
        )
    return anchor


def _picture(anchor: Anchors, autoencoder: Autoencoder) -> np.ndarray:
    """The query's picture: the image itself, or what its latent decodes to."""
    if anchor.targets[0] is not None:
        return to_uint8(anchor.targets[0])
    with torch.no_grad():
        return to_uint8(autoencoder.decode(anchor.latents, anchor.size))


def _match(found: FolderLatents, neighbor: Neighbor, reader: Reader) -> Match:
    picture = to_uint8(read_squares([found.paths[neighbor.index]], found.size, reader))
    return Match(name=found.names[neighbor.index], picture=picture, distance=neighbor.distance)


def _own_file(query: str, found: FolderLatents) -> list[int]:
    """The index in the folder of the query's own file, if it is there."""
    source = parse_source(query)
    if not source.is_image:
        return []
    own = source.path.resolve()
    return [index for index, path in enumerate(found.paths) if path.resolve() == own]


@undisturbed
def draw_similar(
    name: str,
    picture: np.ndarray,
    matches: Sequence[Match],
    searched: int,
    distance: str = DEFAULT_DISTANCE,
    median: float | None = None,
    autoencoder: str = "",
) -> Figure:
    """The figure of a search: the query's `picture` (h, w, 3), uint8, and its name at the left, the matches beside it
    in rows, in their order, with their distances. `searched` is the number of images it says they are the nearest of,
    `median` the distance of two of these, for scale, `autoencoder` the name of the autoencoder that made the latents.

    Raises `InputError` without a match, `MissingPackageError` without matplotlib.
    """
    if not matches:
        raise InputError("There is no match to draw.")
    columns = min(len(matches), MATCHES_PER_ROW)
    rows = -(-len(matches) // columns)
    figure = new_figure((columns + 1) * PICTURE_INCHES + 0.3, rows * (PICTURE_INCHES + 0.7) + 0.5)
    axes = figure.subplots(rows, columns + 1, squeeze=False)
    for each in axes.flat:
        each.set_axis_off()
        each.set_anchor("N")
    _show(axes[0, 0], picture, f"query\n{_in_lines(name)}", bold=True)
    for place, match in zip(axes[:, 1:].flat, matches):
        _show(place, match.picture, f"{match.distance:.3f}\n{_in_lines(match.name)}")
    title = [f"The nearest of {counted(searched, 'image')}", DISTANCES[distance].title]
    scale = "" if median is None else f"\nmedian distance of two images: {median:.3f}"
    figure.suptitle((": " if columns > 3 else "\n").join(title) + scale, fontsize=12 if columns > 1 else 10)
    write_below(figure, autoencoder=autoencoder)
    return figure


def _show(axes: Axes, picture: np.ndarray, text: str, *, bold: bool = False) -> None:
    axes.imshow(picture)
    words = axes.text(0.5, -0.04, text, transform=axes.transAxes, ha="center", va="top", fontsize=9)
    words.set_fontweight("bold" if bold else "normal")


def _in_lines(name: str) -> str:
    """A path in lines that are short enough to stand under a picture: its folders, its file."""
    folders, _, file = name.rpartition("/")
    lines = [f"{folders}/", file] if folders else [file]
    half = MAX_NAME_LENGTH // 2
    return "\n".join(each if len(each) <= MAX_NAME_LENGTH else f"{each[:half]}…{each[1 - half :]}" for each in lines)
