"""Frames along a path, moved until their pictures change by the same amount from each to the next."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentflow import losses
from latentflow.latents.paths import pass_through, place_evenly

EVENING_ROUNDS = 4  # unless a budget is given; a round decodes every frame once
EVEN_RATIO = 1.05  # of the largest step to the smallest, from which on steps are even

Measure = Callable[[Tensor, Tensor], float]


def picture_distance(name: str, load: Callable[[str], Any] | None = None) -> tuple[str, Measure]:
    """The name and the function of a distance of pictures (1, 3, h, w): the root of "mse" or of "lpips", both of which
    grow with the square of small changes. `load` gives lpips its network, by name."""
    if name == "mse":
        return "RMSE", lambda one, two: float((one.clamp(0, 1) - two.clamp(0, 1)).square().mean().sqrt())
    lpips = losses.find("lpips")(load)

    def measure(one: Tensor, two: Tensor) -> float:
        with torch.no_grad():
            return float(lpips(one.clamp(0, 1), two.clamp(0, 1))[0].clamp(min=0).sqrt())

    return f"root of {lpips.label}", measure


@dataclass(frozen=True, slots=True)
class Steps:
    """Frames at `positions` (n + 1,) of a path, the `sizes` (n,) of the steps from each picture to the next, and how
    large the steps are `wanted` (n,), in any unit: all equal for a walk with linear timing."""

    positions: np.ndarray
    sizes: list[float]
    wanted: np.ndarray

    @property
    def ratio(self) -> float:
        """The largest step over the smallest, each relative to its wanted size; 1 when nothing changes anywhere."""
        steps = np.array(self.sizes)[self.wanted > 0] / self.wanted[self.wanted > 0]
        low, high = (float(each) for each in (steps.min(initial=np.inf), steps.max(initial=0.0)))
        return 1.0 if high == 0 else high / low if low > 0 else float("inf")


def even_out(
    measure: Callable[[np.ndarray], list[float]],
    positions: np.ndarray,
    fractions: np.ndarray,
    *,
    stops: Sequence[float] = (),
    decodings: int | None = None,
    seconds: float | None = None,
) -> tuple[Steps, Steps]:
    """Move frames along a path until their pictures change evenly; return the steps before and after.

    `measure` gives the sizes of the steps between frames at `positions` (n + 1,). The frames are then moved to
    `fractions` (n + 1,) of the length so measured, ascending in [0, 1], and from there to the positions `stops` that
    are nearest to one of them. This is repeated until the largest step,
    relative to its fraction, is at most 1.05 × the smallest, or a budget of `decodings` or of `seconds` would be
    exceeded; steps are measured at least once. The most even frames found are returned.
    """
    began, wanted = time.monotonic(), np.diff(fractions)
    before = best = now = Steps(positions, measure(positions), wanted)
    spent = len(positions)
    while best.ratio > EVEN_RATIO:
        if seconds is not None and (time.monotonic() - began) * (1 + len(positions) / spent) > seconds:
            break
        if seconds is None and spent + len(positions) > (decodings or EVENING_ROUNDS * len(positions)):
            break
        placed = pass_through(place_evenly(now.positions, now.sizes, fractions), stops)
        now = Steps(placed, measure(placed), wanted)
        spent += len(positions)
        if now.ratio < best.ratio:
            best = now
    return before, best
