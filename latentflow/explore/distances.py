"""Distances between pictures in a latent space, as searches and atlases use them.

A picture of low contrast has a latent near the middle of all others, and so is near to most of them by the plain
difference of latents: it is a hub, found whatever is searched for. `moments`, the default, has few hubs and finds a
picture's crops, mirror images and re-encodings; docs/neighbors.md has the measurement.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from latentflow.base.errors import InputError
from latentflow.base.options import did_you_mean

PARTS = 4  # of a picture's side, for pooled and moments
CHUNK_SIZE = 1024  # latents measured at once: intermediate results stay small
MEDIAN_LATENTS = 1000  # of which all pairs give the median distance
MIN_NORM = 1e-12  # a latent of zeros has no direction


@dataclass(frozen=True, slots=True)
class Distance:
    """Latents (n, c, rows, columns) become `vectors` (n, d). Their distance is 1 − the cosine of the angle between them
    if it `is_angular`, less the mean vector if they are `centered`, and else the root of their mean squared difference.
    """

    title: str
    vectors: Callable[[Tensor], Tensor]
    is_angular: bool = False
    centered: bool = False


def pooled(latents: Tensor) -> Tensor:
    """The mean of every channel over 4 × 4 equal parts of the picture, (n, 16 c)."""
    return functional.adaptive_avg_pool2d(latents, PARTS).flatten(1)


def moments(latents: Tensor) -> Tensor:
    """The mean and the standard deviation of every channel over 4 × 4 equal parts of the picture, each the mean of a
    part and of the one that mirrors it: (n, 32 c), the same for a latent and its mirror image."""
    mean = functional.adaptive_avg_pool2d(latents, PARTS)
    square = functional.adaptive_avg_pool2d(latents.square(), PARTS)
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    return torch.cat([((each + each.flip(-1)) / 2).flatten(1) for each in (mean, deviation)], dim=1)


DISTANCES = {
    "moments": Distance("1 − cosine of moments in 4 × 4 parts", moments, is_angular=True, centered=True),
    "pooled": Distance("RMS difference of means in 4 × 4 parts", pooled),
    "cosine": Distance("1 − cosine of latents", lambda latents: latents.flatten(1), is_angular=True),
    "l2": Distance("RMS difference of latents", lambda latents: latents.flatten(1)),
}
DEFAULT_DISTANCE = next(iter(DISTANCES))


class Space:
    """Latents (n, c, rows, columns) of a folder as `vectors` (n, d). Their Euclidean distances have the order of a
    distance: moments, pooled, cosine or l2.

    Raises `InputError` for another distance.
    """

    def __init__(self, latents: Tensor, distance: str = DEFAULT_DISTANCE) -> None:
        if distance not in DISTANCES:
            raise InputError(
                f"`distance` is one of {', '.join(DISTANCES)}, not {distance!r}.", did_you_mean(distance, DISTANCES)
            )
        self.distance, self._shape = DISTANCES[distance], latents.shape[1:]
        raw = torch.cat([self.distance.vectors(chunk.float()) for chunk in latents.split(CHUNK_SIZE)])
        self._center = raw.mean(0) if self.distance.centered else torch.zeros((), dtype=raw.dtype)
        self.vectors = self._placed(raw)

    def _placed(self, raw: Tensor) -> Tensor:
        vectors = raw - self._center
        if self.distance.is_angular:
            return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=MIN_NORM)
        return vectors / math.sqrt(vectors.shape[1])

    def from_query(self, query: Tensor) -> Tensor:
        """The distances (n,) from one latent (1, c, rows, columns), which may be of another folder; raises `InputError`
        for another shape."""
        if query.shape != (1, *self._shape):
            raise InputError(f"The query has shape {tuple(query.shape)}; the latents are {(1, *self._shape)}.")
        return self._between(self._placed(self.distance.vectors(query.float())), self.vectors)[0]

    def _between(self, some: Tensor, others: Tensor) -> Tensor:
        if self.distance.is_angular:  # in double precision, since 1 − 0.9999999 has no digits in float32
            return (1 - some.double() @ others.double().T).clamp(min=0).float()
        # not by a matrix product, |a|² − 2ab + |b|²: it rounds small distances away
        return torch.cdist(some, others, compute_mode="donot_use_mm_for_euclid_dist")

    def neighbors(self, count: int) -> tuple[Tensor, Tensor]:
        """The indices (n, k) of the `count` nearest others of each latent, nearest first, fewer where there are fewer,
        and their distances (n, k). Equal distances keep their order."""
        count = min(count, len(self.vectors) - 1)
        indices, distances = [], []
        for first in range(0, len(self.vectors), CHUNK_SIZE):
            chunk = self.vectors[first : first + CHUNK_SIZE]
            between = self._between(chunk, self.vectors)
            between[torch.arange(len(chunk)), torch.arange(first, first + len(chunk))] = math.inf
            order = between.argsort(dim=1, stable=True)[:, :count]
            indices.append(order)
            distances.append(between.gather(1, order))
        return torch.cat(indices), torch.cat(distances)

    def median(self) -> float:
        """The median distance of two latents, which says what is near: of all pairs, or of those of 1000 latents that
        are evenly spread over the folder. nan for a single latent."""
        step = -(-len(self.vectors) // MEDIAN_LATENTS)
        some = self.vectors[::step]
        pairs = torch.triu_indices(len(some), len(some), 1)
        return float(self._between(some, some)[pairs[0], pairs[1]].median()) if len(some) > 1 else math.nan
