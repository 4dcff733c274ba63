"""Atlases: the pictures of a folder, laid out by their latents."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentflow.errors import InputError
from latentflow.explore.atlas.embedding import LEADING, Embedding, Neighbours, check_umap, embed
from latentflow.explore.atlas.figure import draw_atlas
from latentflow.explore.atlas.page import make_page
from latentflow.explore.atlas.placement import Placement, place
from latentflow.explore.config import AtlasConfig
from latentflow.explore.report import ViewReport, beside, check_outputs, write_view_manifest
from latentflow.files import check_writable, write_whole
from latentflow.interrupts import NOTHING, Interrupts, Say
from latentflow.latents.index import Latents, check_folder, check_index, read_latents
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.figure import check_figure_path, save_figure
from latentflow.pictures.files import cover, read_image
from latentflow.records import Record
from latentflow.runs.run import load
from latentflow.sinks import Collect, Sink, run_sinks
from latentflow.sinks.progress import Progress

LEAST = 3  # pictures that lie in a plane
COLORS = (  # one a cluster: matplotlib's ten, to be told apart on white and on black
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
)
SHEET = 24_000_000  # pixels of all thumbnails together, about as many as a browser shows without effort
SMALLEST, LARGEST = 48, 256  # sides of a thumbnail
BLOCK = 8  # of a JPEG: thumbnails of whole ones don't run into each other


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster as it is named and colored; `number` counts from 1."""

    number: int
    size: int
    color: str

    def __str__(self) -> str:
        return f"cluster {self.number}: {self.size} picture{'s' if self.size > 1 else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Atlas:
    """Named pictures, each with its place, its cluster, `labels` (n,) counting from 0, and its neighbours.

    `axes` say what the two directions are, and with `has_units` the extent of the placement is in standard deviations
    of a latent's values; `title`, `note` and `legend` are for people.
    """

    title: str
    note: str
    legend: str
    names: list[str]
    axes: tuple[str, str]
    has_units: bool
    placement: Placement
    clusters: list[Cluster]
    labels: np.ndarray
    neighbours: Neighbours

    @property
    def frames(self) -> list[str]:
        """The color of each picture's cluster."""
        return [self.clusters[label].color for label in self.labels]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail(Record):
    """The centre square of one picture, (side, side, 3) uint8."""

    name: str
    picture: np.ndarray


def make_atlas(found: Latents, embedding: Embedding, owner: str) -> Atlas:
    """Lay out the pictures of a folder by a embedding of their latents; `owner` is whose latents they are."""
    placement = place(embedding.points)
    clusters = embedding.clusters
    moved = placement.displacements.mean()
    units = "Axes and distances" if embedding.shares else "Distances"
    return Atlas(
        title=f"{_readable(found.folder.resolve().name)}: {len(found.names)} pictures in the latent space of {owner}",
        note=f"Moved apart by {moved:.2f} of a thumbnail's side on average. {units} are in standard deviations of a "
        "latent's values.",
        legend=_legend(len(clusters.sizes), clusters.silhouette),
        names=found.names,
        axes=embedding.axes,
        has_units=bool(embedding.shares),
        placement=placement,
        clusters=[
            Cluster(number=index + 1, size=size, color=COLORS[index]) for index, size in enumerate(clusters.sizes)
        ],
        labels=clusters.labels,
        neighbours=embedding.neighbours,
    )


def thumbnails(found: Latents, side: int) -> Iterator[Thumbnail]:
    """The pictures of a folder as squares of `side` pixels, one record each, from 1 on; raises `InputError` for what
    can't be read any more."""
    for index, (name, path) in enumerate(zip(found.names, found.paths), 1):
        square = cover(read_image(path, "The image").image.convert("RGB"), side, side)
        yield Thumbnail(index=index, total=len(found.names), name=name, picture=np.asarray(square))


def side_for(count: int) -> int:
    """The side of so many thumbnails in pixels."""
    fitting = int(np.sqrt(SHEET / count)) // BLOCK * BLOCK
    return min(max(fitting, SMALLEST), LARGEST)


def run_atlas(
    folder: Path, config: AtlasConfig, interrupts: Interrupts, say: Say, *, quiet: bool = False
) -> ViewReport:
    """Draw an atlas of a folder as a figure and as a page; raises `LatentflowError` as the parts do."""
    output = Path(config.output_path).expanduser()
    page = beside(output, ".html")
    index = _check(folder, config, output, page)
    loaded = load(config, say)
    autoencoder = loaded.autoencoder
    found = read_latents(folder, autoencoder, config.size, interrupts, say, path=index, quiet=quiet, least=LEAST)
    embedding = embed(found.latents, config.method, config.clusters)
    interrupts.check()
    atlas = make_atlas(found, embedding, _owner(autoencoder))
    tiles = _gathered(found, interrupts, quiet)
    save_figure(draw_atlas(atlas, tiles), output)
    write_whole(page, make_page(atlas, tiles), "--output_path")
    report = ViewReport(written=[output, page, found.index], figures=_figures(found, embedding, atlas, tiles.shape[1]))
    report.lines = _lines(atlas, len(found.problems))
    write_view_manifest(output, config, {"folder": str(folder.resolve())}, loaded, report)
    return report


def _check(folder: Path, config: AtlasConfig, output: Path, page: Path) -> Path | None:
    """Find what is wrong before anything is loaded; gives where the index is, if that was said."""
    files = check_folder(folder)
    if len(files) < LEAST:
        raise InputError(f"The folder {folder} holds {len(files)} images; an atlas needs {LEAST}.")
    if config.clusters is not None and config.clusters > len(files):
        raise InputError(f"--clusters {config.clusters} is more than the {len(files)} images of {folder}.")
    check_figure_path(output)
    check_writable(page, "--output_path")
    check_outputs([output, page], [folder])
    if config.method == "umap":
        check_umap()
    return check_index(config.index)


def _gathered(found: Latents, interrupts: Interrupts, quiet: bool) -> np.ndarray:
    """All thumbnails, (n, side, side, 3)."""
    kept: Collect[Thumbnail] = Collect()
    sinks: list[Sink[Any]] = [kept]
    if not quiet:
        sinks.append(Progress(len(found.names), describe=lambda record: record.name, unit="thumbnail"))
    run_sinks(interrupts.watch(thumbnails(found, side_for(len(found.names))), NOTHING), sinks)
    return np.stack([thumbnail.picture for thumbnail in kept])


def _owner(autoencoder: Autoencoder) -> str:
    return "the bundled autoencoder" if autoencoder.name == "bundled" else _readable(autoencoder.name)


def _readable(name: str) -> str:
    """A name as far as it is text: a file system's need not be."""
    return name.encode(errors="replace").decode()


def _legend(count: int, silhouette: float | None) -> str:
    clusters = f"{count} clusters" if count > 1 else "one cluster"
    suits = "" if silhouette is None else f", mean silhouette {silhouette:.2f}"
    return f"Frames: {clusters} of the latents, by k-means on their {LEADING} leading components{suits}"


def _figures(found: Latents, embedding: Embedding, atlas: Atlas, side: int) -> dict[str, Any]:
    moved = atlas.placement.displacements
    return {
        "pictures": len(found.names),
        "left_out": len(found.problems),
        "variance_shares": list(embedding.shares),
        "clusters": {str(cluster.number): cluster.size for cluster in atlas.clusters},
        "silhouette": embedding.clusters.silhouette,
        "cells": [atlas.placement.columns, atlas.placement.rows],
        "displacement": {"unit": "sides of a thumbnail", "mean": float(moved.mean()), "largest": float(moved.max())},
        "thumbnail": side,
    }


def _lines(atlas: Atlas, left_out: int) -> list[str]:
    moved = atlas.placement.displacements
    out = f", {left_out} left out" if left_out else ""
    return [
        f"pictures {len(atlas.names)}{out}, moved apart by {moved.mean():.2f} of their side, at most {moved.max():.2f}",
        f"axes     {atlas.axes[0]}; {atlas.axes[1]}",
        *(f"cluster  {str(cluster).removeprefix('cluster ')}" for cluster in atlas.clusters),
    ]
