"""An atlas as plain values: named pictures in cells, their clusters and neighbors."""

from dataclasses import dataclass

import numpy as np

from latentflow.base.surroundings import undisturbed
from latentflow.explore.atlas.embedding import Embedding, Neighbors
from latentflow.explore.atlas.placement import Placement, place
from latentflow.explore.distances import DEFAULT_DISTANCE, DISTANCES
from latentflow.latents.index import FolderLatents

CLUSTER_COLORS = (  # matplotlib's ten, which are distinct on white and on black
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster as it is shown: `number` counts from 1, `size` is the number of its pictures, `color` is #rrggbb."""

    number: int
    size: int
    color: str

    def __str__(self) -> str:
        return f"cluster {self.number}: {self.size} picture{'s' if self.size > 1 else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Atlas:
    """Named pictures, n of them, each with its cell of the `placement`, its `neighbors`, and its cluster: `labels` (n,)
    index `clusters`.

    `axes` name the two directions; with `has_units` the extent of the placement is in standard deviations of a latent
    value. `title`, `note` and `legend` are for people.
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
    neighbors: Neighbors

    @property
    def frame_colors(self) -> list[str]:
        """The color of each picture's cluster."""
        return [self.clusters[label].color for label in self.labels]


@undisturbed
def make_atlas(found: FolderLatents, embedding: Embedding, autoencoder: str, distance: str = DEFAULT_DISTANCE) -> Atlas:
    """Lay out the pictures of a folder by the embedding of their latents, with neighbors by `distance`; `autoencoder`
    is the name for the title."""
    placement = place(embedding.points)
    clusters = embedding.clusters
    moved = placement.displacements.mean()
    has_units = bool(embedding.variance_fractions)
    folder = _decodable(found.folder.resolve().name)
    return Atlas(
        title=f"{folder}: {len(found.names)} pictures in the latent space of {_decodable(autoencoder)}",
        note=f"Moved apart by {moved:.2f} of a thumbnail's side on average. Distances: {DISTANCES[distance].title}; "
        f"of two pictures {embedding.median:.2f} in the median.",
        legend=f"Frames: {clusters.finding}",
        names=found.names,
        axes=embedding.axes,
        has_units=has_units,
        placement=placement,
        clusters=[
            Cluster(number=index + 1, size=size, color=CLUSTER_COLORS[index])
            for index, size in enumerate(clusters.sizes)
        ],
        labels=clusters.labels,
        neighbors=embedding.neighbors,
    )


def _decodable(name: str) -> str:
    """A file's name as text: a file system's need not be."""
    return name.encode(errors="replace").decode()
