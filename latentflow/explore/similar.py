"""The images of a folder that are nearest to one in the latent space."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from latentflow.errors import InputError
from latentflow.explore.config import SimilarConfig
from latentflow.explore.report import ViewReport, check_outputs, write_view_manifest
from latentflow.interrupts import Interrupts, Say
from latentflow.latents.index import Latents, check_folder, check_index, read_latents, read_squares
from latentflow.latents.sources import LATENT, RANDOM, Anchors, check_anchors, read_anchors
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.figure import check_figure_path, new_figure, save_figure
from latentflow.pictures.files import to_uint8
from latentflow.runs.report import table
from latentflow.runs.run import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELLS = 4  # a side, of a pooled latent
CHUNK = 1024  # latents measured at once: what is made of them stays small
LEAST = 1e-12  # a norm: a latent of zeros has no direction
ACROSS = 5  # neighbors in a row of the figure
INCH = 1.9  # a picture of the figure
LETTERS = 24  # of a name under a picture
MEANING = {
    "l2": "RMS difference of latents",
    "cosine": "1 − cosine of latents",
    "pooled": "RMS difference of latents averaged over 4 × 4 cells",
}

Distance = Callable[[Tensor, Tensor], Tensor]


def rms_distance(one: Tensor, many: Tensor) -> Tensor:
    """How far latents (n, c, rows, columns) are from one (1, c, rows, columns): the root of the mean squared
    difference, (n,), in standard deviations of a latent value."""
    # not by a product of matrices, |a|² − 2ab + |b|²: that is no faster for one query, and rounds away what is near
    exactly = "donot_use_mm_for_euclid_dist"
    return torch.cdist(one.flatten(1), many.flatten(1), compute_mode=exactly)[0] / math.sqrt(one.numel())


def cosine_distance(one: Tensor, many: Tensor) -> Tensor:
    """1 − the cosine of the angle between one latent and each of n, (n,), in [0, 2]: blind to contrast."""
    first, others = one.flatten(), many.flatten(1)
    norms = others.norm(dim=1) * first.norm()
    return (1 - others @ first / norms.clamp(min=LEAST)).clamp(min=0)


def pooled_distance(one: Tensor, many: Tensor) -> Tensor:
    """`rms_distance` of the means of every channel over 4 × 4 equal parts of the picture: what moves within a part
    makes no difference."""
    return rms_distance(*(functional.adaptive_avg_pool2d(latents, CELLS) for latents in (one, many)))


DISTANCES: dict[str, Distance] = {"l2": rms_distance, "cosine": cosine_distance, "pooled": pooled_distance}


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A latent's place in its folder, and how far it is from the query."""

    place: int
    distance: float


def nearest(
    query: Tensor, latents: Tensor, count: int, distance: str = "l2", without: Sequence[int] = ()
) -> list[Neighbor]:
    """The `count` nearest of latents (n, c, rows, columns) to a query (1, c, rows, columns), nearest first, fewer where
    there are fewer; those at the places `without` don't count. All are measured; of two as near, the first is first."""
    distances = torch.cat([DISTANCES[distance](query, chunk) for chunk in latents.split(CHUNK)])
    distances[list(without)] = math.inf
    order = distances.argsort(stable=True)[: min(count, len(latents) - len(without))]
    return [Neighbor(int(place), float(distances[place])) for place in order]


def run_similar(
    query: str, folder: Path, config: SimilarConfig, interrupts: Interrupts, say: Say, *, quiet: bool = False
) -> ViewReport:
    """Find the images nearest to a query, itself left out, and draw them; raises `LatentflowError` as the parts do."""
    folder = folder.expanduser()
    check_anchors([query], 1, 1)
    check_folder(folder)
    output = Path(config.output_path).expanduser()
    check_figure_path(output)
    check_outputs([output], [folder, query])
    index = check_index(config.index)
    if index is not None and index.resolve() == Path(query).expanduser().resolve():
        raise InputError(f"--index {index} is the query's file.", "Name another.")
    loaded = load(config, say)
    asked = _ask(query, loaded.autoencoder, config.size)
    found = read_latents(folder, loaded.autoencoder, config.size, interrupts, say, path=index, quiet=quiet)
    neighbors = nearest(asked.latents.cpu(), found.latents, config.count, config.distance, _itself(query, found))
    if not neighbors:
        raise InputError(f"The folder {folder} holds no image but the query itself.")
    picture = asked.targets[0]
    if picture is None:
        with torch.no_grad():
            picture = loaded.autoencoder.decode(asked.latents, asked.size)
    save_figure(_drawn(asked.names[0], picture, found, neighbors, config.distance), output)
    report = ViewReport(written=[output, found.index])
    listed = [{"image": str(found.paths[each.place]), "distance": each.distance} for each in neighbors]
    report.figures = {"distance": config.distance, "neighbors": listed}
    report.figures |= {"images": len(found.names), "encoded": found.encoded, "unreadable": sorted(found.problems)}
    report.lines = [
        f"searched {len(found.names)} images, {found.encoded} of them encoded now",
        *table(["nearest", config.distance], [[str(each["image"]), f"{each['distance']:.4f}"] for each in listed]),
    ]
    write_view_manifest(output, config, {"query": query, "folder": str(folder)}, loaded, report)
    return report


def _ask(query: str, autoencoder: Autoencoder, size: int) -> Anchors:
    """The query as a square of the folder's size."""
    asked = read_anchors([query], autoencoder, size, "cover")
    if asked.size != (size, size):
        height, width = asked.size
        raise InputError(
            f"{query} is of a picture of {width} × {height} pixels; squares of --size {size} are compared."
        )
    return asked


def _itself(query: str, found: Latents) -> list[int]:
    """Where in the folder the query's own file is."""
    if RANDOM.match(query) or Path(query).suffix == LATENT:
        return []
    own = Path(query).expanduser().resolve()
    return [place for place, path in enumerate(found.paths) if path.resolve() == own]


def _drawn(name: str, picture: Tensor, found: Latents, neighbors: Sequence[Neighbor], distance: str) -> "Figure":
    """The query at the left, its neighbors in rows, nearest first."""
    columns = min(len(neighbors), ACROSS)
    rows = -(-len(neighbors) // columns)
    figure = new_figure((columns + 1) * INCH + 0.3, rows * (INCH + 0.7) + 0.5)
    axes = figure.subplots(rows, columns + 1, squeeze=False)
    for each in axes.flat:
        each.set_axis_off()
        each.set_anchor("N")
    _show(axes[0, 0], to_uint8(picture), f"query\n{_under(name)}", bold=True)
    for place, neighbor in zip(axes[:, 1:].flat, neighbors):
        image = to_uint8(read_squares([found.paths[neighbor.place]], found.size))
        _show(place, image, f"{neighbor.distance:.3f}\n{_under(found.names[neighbor.place])}")
    title = [f"The nearest of {len(found.names)} images", MEANING[distance]]
    figure.suptitle(": ".join(title) if columns > 3 else "\n".join(title), fontsize=12 if columns > 1 else 10)
    return figure


def _show(axes: "Axes", picture: np.ndarray, text: str, *, bold: bool = False) -> None:
    axes.imshow(picture)
    words = axes.text(0.5, -0.04, text, transform=axes.transAxes, ha="center", va="top", fontsize=9)
    words.set_fontweight("bold" if bold else "normal")


def _under(name: str) -> str:
    """A path as lines that are short enough to stand under a picture: its folders, its file."""
    folders, _, file = name.rpartition("/")
    lines = [f"{folders}/", file] if folders else [file]
    return "\n".join(
        each if len(each) <= LETTERS else f"{each[: LETTERS // 2]}…{each[1 - LETTERS // 2 :]}" for each in lines
    )
