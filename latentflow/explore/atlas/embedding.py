"""What an atlas shows of latents: where they lie in two dimensions, their clusters, and who is near whom."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from latentflow.errors import InputError, MissingPackageError
from latentflow.latents.pca import Components, principal_components

LEADING = 20  # components that are clustered: what is beyond is mostly noise, and slow
MOST_CLUSTERS = 10  # as many colors as can be told apart
SAMPLED = 3000  # latents that the silhouette is computed of at most; its work grows with their square
NEIGHBOURS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """The cluster of each latent, `labels` (n,), 0 being the largest; the `sizes` of the clusters, and their mean
    `silhouette` in [-1, 1], None where there is one cluster."""

    labels: np.ndarray
    sizes: list[int]
    silhouette: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """For each latent the `indices` (n, k) of the nearest others, nearest first, and their `distances` (n, k)."""

    indices: np.ndarray
    distances: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """Latents in two dimensions: `points` (n, 2), what the two `axes` are, `shares` of the variance along them, if
    that can be said, and their clusters and neighbours in all dimensions.

    Distances, and points along principal components, are root mean squares over the values of a latent, so 1 is about
    one standard deviation in each of them.
    """

    points: np.ndarray
    axes: tuple[str, str]
    shares: tuple[float, ...]
    clusters: Clusters
    neighbours: Neighbours


def embed(latents: Tensor, method: str, count: int | None) -> Embedding:
    """Embedding latents (n, c, rows, columns), n > 2, by "pca" or "umap", in `count` clusters or as many as suit them
    best; raises `InputError` and `MissingPackageError` as the parts do."""
    components = principal_components(latents, LEADING)
    flat = latents.flatten(1).cpu().numpy()
    unit = np.sqrt(flat.shape[1])  # the norm of what has RMS 1
    by_umap = method == "umap"
    return Embedding(
        points=umap_points(flat) if by_umap else components.coordinates[:, :2] / unit,
        axes=("1st dimension of UMAP", "2nd dimension of UMAP") if by_umap else _axes(components),
        shares=() if by_umap else _shares(components),
        clusters=find_clusters(components.coordinates, count),
        neighbours=find_neighbours(flat, NEIGHBOURS),
    )


def check_umap() -> None:
    """Raise `MissingPackageError` where umap-learn isn't installed."""
    try:
        import umap  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(f"--method umap needs umap-learn: {error}.", "pip install umap-learn") from error


def umap_points(values: np.ndarray) -> np.ndarray:
    """Points (n, 2) whose neighbours are those of values (n, d), n > 2 (McInnes et al., "UMAP", 2018); seeded, on one
    processor, and begun at the principal components, so that a repetition gives the same."""
    check_umap()
    import umap

    neighbours = min(15, len(values) - 1)
    model = umap.UMAP(n_neighbors=neighbours, init="pca", random_state=0, n_jobs=1)
    return np.asarray(model.fit_transform(values), dtype=np.float64)


def find_clusters(values: np.ndarray, count: int | None = None) -> Clusters:
    """Clusters of values (n, d) by k-means, seeded; without a `count` as many, from 2 to 10, as have the best mean
    silhouette (Rousseeuw 1987), or one where fewer than three values differ.

    Raises `InputError` when more clusters are asked for than there are different values.
    """
    distinct = len(np.unique(values.round(6), axis=0))
    if count is not None and count > distinct:
        raise InputError(f"--clusters {count} is more than the {distinct} pictures that differ.", "Ask for fewer.")
    counts = range(2, min(MOST_CLUSTERS, distinct - 1) + 1) if count is None else [count]
    found = [_clusters(values, each) for each in counts] or [_clusters(values, 1)]
    return max(found, key=lambda clusters: clusters.silhouette or -1.0)  # the first, and fewest, of equals


def find_neighbours(values: np.ndarray, count: int) -> Neighbours:
    """The nearest others of each of values (n, d), n > 1; fewer than `count` where there are fewer."""
    from sklearn.neighbors import NearestNeighbors

    count = min(count, len(values) - 1)
    distances, indices = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(values).kneighbors()
    return Neighbours(indices=indices, distances=distances / np.sqrt(values.shape[1]))


def _clusters(values: np.ndarray, count: int) -> Clusters:
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    labels = KMeans(count, n_init=10, random_state=0).fit_predict(values)
    _, firsts, sizes = np.unique(labels, return_index=True, return_counts=True)
    order = np.lexsort((firsts, -sizes))
    labels = np.argsort(order)[labels]
    sampled = SAMPLED if len(values) > SAMPLED else None
    apart = 1 < count < len(values)
    score = float(silhouette_score(values, labels, sample_size=sampled, random_state=0)) if apart else None
    return Clusters(labels=labels, sizes=sizes[order].tolist(), silhouette=score)


def _shares(components: Components) -> tuple[float, ...]:
    return tuple(components.shares[:2].tolist())


def _axes(components: Components) -> tuple[str, str]:
    first, second = _shares(components)
    return (
        f"1st principal component ({100 * first:.0f} % of variance)",
        f"2nd principal component ({100 * second:.0f} % of variance)",
    )
