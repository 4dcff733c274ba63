"""Directions of a latent space between two groups of latents, and how well they tell held-out ones apart."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentflow.errors import InputError

FOLDS = 5
CHANCE = 0.5
LEAST_SHRINKAGE = 1e-6  # so that a covariance can always be inverted


def direction_between(positive: Tensor, negative: Tensor, *, whiten: bool = False) -> Tensor:
    """The direction (1, c, rows, columns) from negative to positive latents, both (n, c, rows, columns).

    It is Δ, the difference of the means; with `whiten`, w = Σ⁻¹Δ, Fisher's discriminant, where Σ is the covariance
    within the groups. A length of 1 along either takes a latent's position from the one mean to the other's: Δ is as
    long as it is, and w is given the length wᵀΔ / wᵀw.

    To classify, w is right and Δ is a stand-in. To be applied, Δ is what the groups differ by on average, and also the
    pattern that belongs to w (Haufe et al., 2014), while w is the least change that moves w's own position as far: it
    says what the classifier looks at, and shows less. Raises `InputError` where there is no difference.
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
    """Σ⁻¹Δ for Σ = (1 − s)·XᵀX/n + s·ν·1, X being n centred rows of d values: the covariance drawn towards a multiple
    of the identity, ν = tr(XᵀX/n)/d, as far as `shrinkage` says.

    A few hundred rows can't say more of some thousand dimensions: without it Σ has no inverse, and in the rows' own
    span any labels could be told apart. By the Woodbury identity only an n × n system is solved.
    """
    count, dimensions = rows.shape
    products = rows @ rows.T
    shrunk = max(shrinkage(products, dimensions), LEAST_SHRINKAGE)
    floor = shrunk * float(products.trace()) / count / dimensions
    share = (1 - shrunk) / count
    if floor == 0 or share == 0:
        return difference
    inner = torch.linalg.solve(products + floor / share * torch.eye(count, dtype=rows.dtype), rows @ difference)
    return (difference - rows.T @ inner) / floor


def shrinkage(products: Tensor, dimensions: int) -> float:
    """How far to draw a covariance towards a multiple of the identity, in [0, 1], from the products (n, n) of centred
    rows with each other (Ledoit and Wolf, 2004)."""
    count = len(products)
    trace = float(products.trace()) / count
    squared = float(products.square().sum()) / count**2  # of the covariance, summed
    distance = squared - trace**2 / dimensions
    noise = (float(products.diagonal().square().sum()) / count - squared) / count
    return min(noise / distance, 1.0) if distance > 0 and noise > 0 else 0.0


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """How well a direction tells two groups apart that it was not made from.

    `positive` and `negative` are the positions of held-out latents along it, in lengths of the direction: 0 halfway
    between the means of what it was made from, ± ½ at them. `folds` are balanced accuracies, of one part each.
    """

    positive: np.ndarray
    negative: np.ndarray
    folds: tuple[float, ...]

    @property
    def right(self) -> tuple[int, int]:
        """How many of each group are on their side."""
        return int((self.positive > 0).sum()), int((self.negative < 0).sum())

    @property
    def accuracy(self) -> float:
        """The balanced accuracy: the mean of the shares of both groups that are on their side. Chance is ½."""
        return float(np.mean([count / len(group) for count, group in self._groups()]))

    @property
    def spread(self) -> float:
        """The standard deviation over the folds."""
        return float(np.std(self.folds))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the balanced accuracy: of the mean of two shares whose own are Wilson's (MOVER, Zou and
        Donner, 2008). It takes held-out images for independent of each other, which near copies aren't."""
        from scipy.stats import binomtest

        below = above = 0.0
        for count, group in self._groups():
            limits = binomtest(count, len(group)).proportion_ci(0.95, method="wilson")
            below += (count / len(group) - limits.low) ** 2
            above += (limits.high - count / len(group)) ** 2
        return self.accuracy - math.sqrt(below) / 2, self.accuracy + math.sqrt(above) / 2

    @property
    def tells_apart(self) -> bool:
        """Whether it is clearly better than chance: with its whole interval."""
        return self.interval[0] > CHANCE

    def figures(self) -> dict[str, Any]:
        """The judgement as plain values."""
        return {
            "balanced_accuracy": self.accuracy,
            "std_over_folds": self.spread,
            "interval_95": list(self.interval),
            "chance": CHANCE,
            "folds": len(self.folds),
            "right": list(self.right),
            "of": [len(self.positive), len(self.negative)],
            "tells_apart": self.tells_apart,
        }

    def _groups(self) -> list[tuple[int, np.ndarray]]:
        return list(zip(self.right, (self.positive, self.negative)))


def cross_validate(
    positive: Tensor, negative: Tensor, *, whiten: bool = False, check: Callable[[], None] = lambda: None
) -> HeldOutScore:
    """Make the direction from four fifths of both groups and place the rest along it, five times (fewer where a group
    is smaller), so that every latent is held out once; the parts are drawn with a fixed seed. `check` is called between
    them.

    The border between the sides is halfway between the groups' mean positions, of latents held out in turn among the
    four fifths: the means that a direction is made from lie further out along it than others do, that of the smaller
    group most, and halfway between them is not halfway between what is to come.
    """
    latents = torch.cat([positive, negative])
    labels = np.repeat([True, False], [len(positive), len(negative)])
    places = np.zeros(len(labels))
    folds = []
    for known, held in _parts(labels):
        check()
        among, sides = hold_out(latents[known], labels[known], whiten=whiten), labels[known]
        border = (among[sides].mean() + among[~sides].mean()) / 2
        places[held] = _positions(latents, labels, known, held, whiten) - border
        right = np.where(labels[held], places[held] > 0, places[held] < 0)
        folds.append(float(np.mean([right[labels[held] == side].mean() for side in (True, False)])))
    return HeldOutScore(places[labels], places[~labels], tuple(folds))


def hold_out(latents: Tensor, labels: np.ndarray, *, whiten: bool = False) -> np.ndarray:
    """The position (n,) of each latent along the direction that others, which don't include it, make."""
    places = np.zeros(len(labels))
    for known, held in _parts(labels):
        places[held] = _positions(latents, labels, known, held, whiten)
    return places


def _parts(labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Who is known and who is held out, in turn."""
    from sklearn.model_selection import StratifiedKFold

    parts = StratifiedKFold(min(FOLDS, labels.sum(), (~labels).sum()), shuffle=True, random_state=0)
    yield from parts.split(labels, labels)


def _positions(latents: Tensor, labels: np.ndarray, known: np.ndarray, held: np.ndarray, whiten: bool) -> np.ndarray:
    """Where held latents lie along the direction of the known ones."""
    one, two = known[labels[known]], known[~labels[known]]
    direction = direction_between(latents[one], latents[two], whiten=whiten)
    scores = (latents.flatten(1).double() @ direction.flatten().double()).numpy()
    above, below = scores[one].mean(), scores[two].mean()
    return (scores[held] - (above + below) / 2) / (above - below)
