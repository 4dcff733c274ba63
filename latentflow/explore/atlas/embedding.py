"""The arrangement of latents in an atlas: points in two dimensions, clusters, nearest neighbors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from latentflow.base.errors import InputError, MissingPackageError
from latentflow.base.options import counted
from latentflow.base.surroundings import undisturbed
from latentflow.explore.distances import DEFAULT_DISTANCE, Space
from latentflow.latents.pca import Components, principal_components

CLUSTERED_COMPONENTS = 20  # leading components that are clustered: the others are mostly noise, and slow
MAX_CLUSTERS = 10  # as many colors as can be told apart
MAX_SILHOUETTE_SAMPLES = 3000  # the work of the silhouette grows with their square
NEIGHBORS = 5
REAL_MARGIN = 0.05  # about three times what the best silhouette of random values varies by
RANDOM_DRAWS, MAX_RANDOM_VALUES = 5, 500  # which show what silhouette values without clusters reach
MIN_UMAP_VALUES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """The cluster of each latent, `labels` (n,), 0 being the largest; the `sizes` of the clusters, and their mean
    `silhouette` in [-1, 1], None where there is one cluster. `random_silhouette` is the best that normal values of
    the same variances reach in as many clusters or, if none was asked for, in any number."""

    labels: np.ndarray
    sizes: list[int]
    silhouette: float | None
    random_silhouette: float | None = None

    @property
    def are_real(self) -> bool:
        """True if the clusters are clearly further apart than those found in values without clusters."""
        return (self.silhouette or -1.0) > (self.random_silhouette or 0.0) + REAL_MARGIN

    @property
    def finding(self) -> str:
        """A sentence on what the clusters say about the pictures."""
        if self.silhouette is None:
            return "No clusters: too few pictures differ."
        limit = f"silhouette {self.silhouette:.2f}; random values of this shape reach {self.random_silhouette or 0:.2f}"
        return (
            f"{counted(len(self.sizes), 'cluster')} ({limit})."
            if self.are_real
            else f"No clusters worth the name ({limit})."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbors:
    """For each latent the `indices` (n, k) of the nearest others, nearest first, and their `distances` (n, k)."""

    indices: np.ndarray
    distances: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """Latents in two dimensions: `points` (n, 2), names of the two `axes`, the `variance_fractions` along them, empty
    where they are unknown, and the clusters and neighbors of the latents in all dimensions, by a distance. Its `median`
    over pairs is a scale for what is near.

    Points along principal components are root mean squares over the values of a latent, so 1 is about one standard
    deviation in each of them.
    """

    points: np.ndarray
    axes: tuple[str, str]
    variance_fractions: tuple[float, ...]
    clusters: Clusters
    neighbors: Neighbors
    median: float


@undisturbed
def embed(
    latents: Tensor, method: str = "pca", clusters: int | None = None, distance: str = DEFAULT_DISTANCE
) -> Embedding:
    """Embed latents (n, c, rows, columns), n > 2, in a plane by "pca" of the latents or by "umap" of their distances,
    with the given number of `clusters`, or the number that suits them best.

    `distance`, as `nearest` takes it, decides on neighbors, clusters and UMAP alike. Raises `InputError` for another
    one and for more clusters than different latents, `MissingPackageError` without umap-learn.
    """
    components = principal_components(latents, 2)
    space = Space(latents.cpu(), distance)
    leading = principal_components(space.vectors[:, None, None], CLUSTERED_COMPONENTS).coordinates
    unit = np.sqrt(latents[0].numel())  # the norm of a latent of RMS 1
    by_umap = method == "umap"
    indices, distances = space.neighbors(NEIGHBORS)
    return Embedding(
        points=umap_points(space.vectors.numpy()) if by_umap else components.coordinates[:, :2] / unit,
        axes=("1st dimension of UMAP", "2nd dimension of UMAP") if by_umap else _axes(components),
        variance_fractions=() if by_umap else _leading_fractions(components),
        clusters=find_clusters(leading, clusters),
        neighbors=Neighbors(indices=indices.numpy(), distances=distances.numpy()),
        median=space.median(),
    )


def check_umap() -> None:
    """Raise `MissingPackageError` where umap-learn isn't installed."""
    try:
        from umap import UMAP  # noqa: F401  (a folder named umap is a package too, but an empty one)
    except ImportError as error:
        remedy = 'pip install "latentflow[umap]"'
        raise MissingPackageError(f"`method` umap needs umap-learn: {error}.", remedy) from error


def umap_points(values: np.ndarray) -> np.ndarray:
    """Points (n, 2) with the same neighbors as the values (n, d), by UMAP (McInnes et al. 2018, arXiv:1802.03426).

    It is seeded, on one processor, and starts from the principal components, so that a repetition gives the same.
    Values that are equal, which UMAP can't place, have the same point. Raises `MissingPackageError` without umap-learn
    and `InputError` when fewer than 4 values differ.
    """
    check_umap()
    from umap import UMAP

    _, first, place = np.unique(values.round(6), axis=0, return_index=True, return_inverse=True)
    if len(first) < MIN_UMAP_VALUES:
        raise InputError(
            f"`method` umap places {MIN_UMAP_VALUES} pictures that differ or more, not {len(first)}.",
            "pca places any.",
        )
    order = np.argsort(first)  # as the values come, since UMAP's result depends on their order
    model = UMAP(n_neighbors=min(15, len(first) - 1), init="pca", random_state=0, n_jobs=1)
    points = np.asarray(model.fit_transform(values[first[order]]), dtype=np.float64)
    return points[np.argsort(order)[place.ravel()]]


def find_clusters(values: np.ndarray, count: int | None = None) -> Clusters:
    """Clusters of values (n, d), d principal components, by seeded k-means.

    Without a `count` they are as many, from 2 to 10, as have the best mean silhouette (Rousseeuw 1987), none of them of
    one value; and one where that is not better than what normal values of the same variances reach. Raises
    `InputError` when more clusters are asked for than there are different values.
    """
    distinct = len(np.unique(values.round(6), axis=0))
    if count is not None and count > distinct:
        raise InputError(f"`clusters` {count} is more than the {distinct} pictures that differ.", "Ask for fewer.")
    counts = range(2, min(MAX_CLUSTERS, distinct - 1) + 1) if count is None else [count]
    found = [_clusters(values, each) for each in counts]
    found = [each for each in found if count is not None or min(each.sizes) > 1]
    if not found:
        return _clusters(values, 1)
    best = max(found, key=lambda clusters: clusters.silhouette or -1.0)  # the first, and fewest, of equals
    if best.silhouette is None:
        return best
    best = replace(best, random_silhouette=_random_silhouette(values, counts))
    if count is None and not best.are_real:
        return replace(best, labels=np.zeros(len(values), int), sizes=[len(values)])
    return best


def _random_silhouette(values: np.ndarray, counts: Sequence[int]) -> float:
    """The best silhouette that normal values of the same shape and variances reach, in several draws."""
    rng = np.random.default_rng(0)
    shape = (min(len(values), MAX_RANDOM_VALUES), values.shape[1])
    draws = [rng.standard_normal(shape) * values.std(0) for _ in range(RANDOM_DRAWS)]
    scores = [_clusters(draw, each, trials=3).silhouette for draw in draws for each in counts if each < len(draw)]
    return max((score for score in scores if score is not None), default=0.0)


def _clusters(values: np.ndarray, count: int, trials: int = 10) -> Clusters:
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    labels = KMeans(count, n_init=trials, random_state=0).fit_predict(values)
    _, firsts, sizes = np.unique(labels, return_index=True, return_counts=True)
    order = np.lexsort((firsts, -sizes))
    labels = np.argsort(order)[labels]
    sampled = MAX_SILHOUETTE_SAMPLES if len(values) > MAX_SILHOUETTE_SAMPLES else None
    several = 1 < count < len(values)
    score = float(silhouette_score(values, labels, sample_size=sampled, random_state=0)) if several else None
    return Clusters(labels=labels, sizes=sizes[order].tolist(), silhouette=score)


def _leading_fractions(components: Components) -> tuple[float, ...]:
    return tuple(components.variance_fractions[:2].tolist())


def _axes(components: Components) -> tuple[str, str]:
    first, second = _leading_fractions(components)
    return (
        f"1st principal component ({100 * first:.0f} % of variance)",
        f"2nd principal component ({100 * second:.0f} % of variance)",
    )
