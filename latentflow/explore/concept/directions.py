"""Directions of a latent space between two groups of latents, and how well they separate held-out ones."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.surroundings import undisturbed

FOLDS = 5
CHANCE = 0.5
MIN_SHRINKAGE = 1e-6  # so that a covariance can always be inverted


@undisturbed
def direction_between(positive: Tensor, negative: Tensor, *, whiten: bool = False) -> Tensor:
    """The direction (1, c, rows, columns) from negative to positive latents, both (n, c, rows, columns).

    It is Δ, the difference of the means; with `whiten`, w = Σ⁻¹Δ, Fisher's discriminant, where Σ is the covariance
    within the groups. Adding the direction once moves a latent's position along it from one mean to the other: Δ needs
    no scaling, and w is scaled by wᵀΔ / wᵀw.

    To classify, w is the better direction. To change a picture, Δ is the average difference between the groups, and
    also the pattern that belongs to w (Haufe et al., 2014), while w is the smallest change with the same effect on the
    classifier, and less visible. Raises `InputError` when the means are equal.
    """
    difference = positive.double().mean(0) - negative.double().mean(0)
    if not difference.any():
        raise InputError("The mean latents of the two folders are the same: there is no direction between them.")
    flat = difference.flatten()
    if whiten:
        within = torch.cat([(group.double() - group.double().mean(0)).flatten(1) for group in (positive, negative)])
        weights = whitened(flat, within)
        flat = weights * (weights @ flat) / (weights @ weights)
    return flat.reshape(1, *positive.shape[1:]).to(positive.dtype)


def whitened(difference: Tensor, rows: Tensor) -> Tensor:
    """Σ⁻¹Δ (d,) for Σ = (1 − s)·XᵀX/n + s·ν·1, X being n centered `rows` of d values: their covariance, shrunk towards
    a multiple of the identity, ν = tr(XᵀX/n)/d, with s from `shrinkage`.

    With fewer rows than dimensions, XᵀX has no inverse without shrinkage. By the Woodbury identity only an n × n system
    is solved.
    """
    count, dimensions = rows.shape
    products = rows @ rows.T
    shrunk = max(shrinkage(products, dimensions), MIN_SHRINKAGE)
    floor = shrunk * float(products.trace()) / count / dimensions
    weight = (1 - shrunk) / count
    if floor == 0 or weight == 0:
        return difference
    inner = torch.linalg.solve(products + floor / weight * torch.eye(count, dtype=rows.dtype), rows @ difference)
    return (difference - rows.T @ inner) / floor


def shrinkage(products: Tensor, dimensions: int) -> float:
    """The optimal shrinkage of a covariance towards a multiple of the identity, in [0, 1], from the products (n, n) of
    centered rows with each other (Ledoit and Wolf, 2004)."""
    count = len(products)
    trace = float(products.trace()) / count
    squared = float(products.square().sum()) / count**2  # of the covariance, summed
    distance = squared - trace**2 / dimensions
    noise = (float(products.diagonal().square().sum()) / count - squared) / count
    return min(noise / distance, 1.0) if distance > 0 and noise > 0 else 0.0


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """A score of directions on held-out data: how well they separate two groups of latents that they were not computed
    from.

    `positive` and `negative` are the positions of the held-out latents along the direction, in its lengths, relative to
    the decision border: positive latents should be above 0, negative ones below. `folds` are the balanced accuracies of
    the folds.
    """

    positive: np.ndarray
    negative: np.ndarray
    folds: tuple[float, ...]

    @property
    def right(self) -> tuple[int, int]:
        """The number of latents of each group on the correct side of the border."""
        return int((self.positive > 0).sum()), int((self.negative < 0).sum())

    @property
    def accuracy(self) -> float:
        """The balanced accuracy: the mean of both groups' fractions on the correct side. Chance is ½."""
        return float(np.mean([count / len(group) for count, group in self._groups()]))

    @property
    def spread(self) -> float:
        """The standard deviation of the balanced accuracy over the folds."""
        return float(np.std(self.folds))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the balanced accuracy, from Wilson's intervals of both fractions (MOVER, Zou
        and Donner, 2008). It assumes that held-out images are independent, which near copies aren't."""
        from scipy.stats import binomtest

        below = above = 0.0
        for count, group in self._groups():
            limits = binomtest(count, len(group)).proportion_ci(0.95, method="wilson")
            below += (count / len(group) - limits.low) ** 2
            above += (limits.high - count / len(group)) ** 2
        return self.accuracy - math.sqrt(below) / 2, self.accuracy + math.sqrt(above) / 2

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest position of a held-out image."""
        places = np.concatenate([self.positive, self.negative])
        return float(places.min()), float(places.max())

    @property
    def tells_apart(self) -> bool:
        """True if the direction is clearly better than chance: the complete interval is above it."""
        return self.interval[0] > CHANCE

    def figures(self) -> dict[str, Any]:
        """The score as plain values."""
        return {
            "balanced_accuracy": self.accuracy,
            "std_over_folds": self.spread,
            "interval_95": list(self.interval),
            "chance": CHANCE,
            "folds": len(self.folds),
            "right": list(self.right),
            "of": [len(self.positive), len(self.negative)],
            "tells_apart": self.tells_apart,
            "range": list(self.range),
        }

    def _groups(self) -> list[tuple[int, np.ndarray]]:
        return list(zip(self.right, (self.positive, self.negative)))


@undisturbed
def cross_validate(
    positive: Tensor, negative: Tensor, *, whiten: bool = False, check: Callable[[], None] = lambda: None
) -> HeldOutScore:
    """Score a direction by 5-fold cross-validation (fewer folds where a group is smaller), with a fixed seed.

    `positive` and `negative` are latents (n, c, rows, columns). In each fold the direction is computed from the other
    folds, and the latents of the fold are placed along it. `check` is called before each fold, and may raise.

    The decision border of a fold is halfway between the groups' mean positions, measured by a second cross-validation
    within the other folds: along a direction, the means that it was computed from lie further out than those of new
    latents, most so for the smaller group, so that halfway between them is biased.
    """
    latents = torch.cat([positive, negative])
    labels = np.repeat([True, False], [len(positive), len(negative)])
    places = np.zeros(len(labels))
    folds = []
    for known, held in _folds(labels):
        check()
        inner, sides = hold_out(latents[known], labels[known], whiten=whiten), labels[known]
        border = (inner[sides].mean() + inner[~sides].mean()) / 2
        places[held] = _positions(latents, labels, known, held, whiten) - border
        right = np.where(labels[held], places[held] > 0, places[held] < 0)
        folds.append(float(np.mean([right[labels[held] == side].mean() for side in (True, False)])))
    return HeldOutScore(places[labels], places[~labels], tuple(folds))


def position_along(latent: Tensor, direction: Tensor) -> float:
    """The position of a latent along a direction of its shape, in lengths of it: adding the direction adds 1."""
    flat = direction.flatten().double()
    return float(latent.flatten().double() @ flat / (flat @ flat))


def decision_border(positive: Tensor, negative: Tensor, direction: Tensor, *, whiten: bool = False) -> float:
    """The position along a direction between two groups of latents (n, c, rows, columns) that is halfway between the
    positions of held-out latents of both, as `cross_validate` measures them."""
    latents = torch.cat([positive, negative])
    labels = np.repeat([True, False], [len(positive), len(negative)])
    middle = (positive.double().mean(0) + negative.double().mean(0)) / 2
    places = hold_out(latents, labels, whiten=whiten)
    return position_along(middle, direction) + float(places[labels].mean() + places[~labels].mean()) / 2


def hold_out(latents: Tensor, labels: np.ndarray, *, whiten: bool = False) -> np.ndarray:
    """The position (n,) of each latent along a direction computed from the other folds."""
    places = np.zeros(len(labels))
    for known, held in _folds(labels):
        places[held] = _positions(latents, labels, known, held, whiten)
    return places


def _folds(labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The indices of the known and of the held-out latents of each fold."""
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(min(FOLDS, labels.sum(), (~labels).sum()), shuffle=True, random_state=0)
    yield from folds.split(labels, labels)


def _positions(latents: Tensor, labels: np.ndarray, known: np.ndarray, held: np.ndarray, whiten: bool) -> np.ndarray:
    """The positions of held-out latents along the direction of the known ones; the known means are at ± ½."""
    one, two = known[labels[known]], known[~labels[known]]
    direction = direction_between(latents[one], latents[two], whiten=whiten)
    scores = (latents.flatten(1).double() @ direction.flatten().double()).numpy()
    above, below = scores[one].mean(), scores[two].mean()
    return (scores[held] - (above + below) / 2) / (above - below)
