"""Ways between points of a latent space, and where on them the frames stand."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

PARALLEL = 1e-4  # radians: below, an arc is a line
THROUGH = 0.25  # of the length there should be: a spline that passes nearer to the origin is not lengthened further

Timing = Callable[[np.ndarray, int], np.ndarray]


def slerp(one: Tensor, two: Tensor, share: float) -> Tensor:
    """The point at `share` in [0, 1] of the way from one latent (1, c, rows, columns) to another along an arc.

    Both are taken as flat vectors; the direction follows the great circle (Shoemake, 1985), the norm goes straight
    from one's to the other's, as latents in many dimensions lie near a sphere. Parallel vectors, and zero, are joined
    by a line; opposite ones by the half circle through a fixed perpendicular.
    """
    first, last = one.flatten().cpu().double(), two.flatten().cpu().double()  # which not every device computes in
    norms = first.norm(), last.norm()
    if min(norms) == 0:
        return torch.lerp(one, two, share)
    first, last = first / norms[0], last / norms[1]
    angle = 2 * torch.atan2((first - last).norm(), (first + last).norm()).item()  # exact where arccos isn't
    if angle < PARALLEL:
        return torch.lerp(one, two, share)
    if math.pi - angle < PARALLEL:
        across = _perpendicular(first)
        direction = math.cos(angle * share) * first + math.sin(angle * share) * across
    else:
        parts = math.sin((1 - share) * angle), math.sin(share * angle)
        direction = (parts[0] * first + parts[1] * last) / math.sin(angle)
    return (direction * torch.lerp(*norms, share)).to(one).reshape(one.shape)


def _perpendicular(direction: Tensor) -> Tensor:
    """A unit vector at right angles to a unit vector, always the same."""
    other = torch.zeros_like(direction)
    other[direction.abs().argmin()] = 1.0
    other -= (other @ direction) * direction
    return other / other.norm()


class LatentPath:
    """A way through latents (n, c, rows, columns), n ≥ 2; `way(t)` is the point at t in [0, stretches].

    `method` is slerp, lerp, or spline: a cubic through all of them (C² in its directions, natural ends), at the norm
    that goes from anchor to anchor by a monotone cubic, so C¹ altogether, except where the cubic comes near the origin.
    With `loop` it goes back to the first.
    """

    def __init__(self, anchors: Tensor, method: str = "slerp", *, loop: bool = False) -> None:
        self.loop = loop
        self.anchors = torch.cat([anchors, anchors[:1]]) if loop else anchors
        self.stretches = len(self.anchors) - 1
        self._at = {"slerp": self._slerp, "lerp": self._lerp, "spline": self._spline}[method]
        if method == "spline":
            from scipy.interpolate import CubicSpline, PchipInterpolator

            knots = np.arange(len(self.anchors))
            flat = self.anchors.flatten(1).cpu().double().numpy()
            self._curve = CubicSpline(knots, flat, bc_type="periodic" if loop else "natural")
            norms = np.linalg.norm(flat, axis=1)
            if loop:  # and one beyond each end, or there would be a corner where it closes
                knots, norms = np.arange(-1, len(flat) + 1), np.concatenate([norms[-2:-1], norms, norms[1:2]])
            self._norm = PchipInterpolator(knots, norms)

    def __call__(self, position: float) -> Tensor:
        """The latent (1, c, rows, columns) there."""
        return self._at(min(max(position, 0.0), float(self.stretches)))

    def _split(self, position: float) -> tuple[Tensor, Tensor, float]:
        index = min(int(position), self.stretches - 1)
        return self.anchors[index : index + 1], self.anchors[index + 1 : index + 2], position - index

    def _slerp(self, position: float) -> Tensor:
        return slerp(*self._split(position))

    def _lerp(self, position: float) -> Tensor:
        return torch.lerp(*self._split(position))

    def _spline(self, position: float) -> Tensor:
        point = self._curve(position)
        wanted, found = float(self._norm(position)), float(np.linalg.norm(point))
        if found > 0:
            point = point * (wanted / max(found, THROUGH * wanted))
        like = self.anchors[:1]
        return torch.from_numpy(point).to(like.device, like.dtype).reshape(like.shape)


def _stops(time: np.ndarray, stretches: int) -> np.ndarray:
    whole = np.minimum(np.floor(time * stretches), stretches - 1)
    return (whole + _smooth(time * stretches - whole)) / stretches


def _smooth(time: np.ndarray) -> np.ndarray:
    return time * time * (3 - 2 * time)


# How far a walk of so many stretches is, in [0, 1], at times in [0, 1]: where a timing by sound would stand too.
TIMINGS: dict[str, Timing] = {
    "linear": lambda time, stretches: time,
    "in_out": lambda time, stretches: _smooth(time),
    "stops": _stops,
}


def frame_times(frames: int, *, loop: bool = False) -> np.ndarray:
    """The times in [0, 1] of so many frames; those of a loop leave out the last, which is the first again."""
    return np.arange(frames) / (frames if loop else max(frames - 1, 1))


def place_evenly(positions: np.ndarray, steps: Sequence[float], shares: np.ndarray) -> np.ndarray:
    """Where on a way to stand so that `shares` in [0, 1] of its length lie behind; `steps` are the lengths between
    `positions`, which are ascending and one more."""
    lengths = np.maximum(np.asarray(steps, dtype=float), 0)
    behind = np.concatenate([[0.0], np.cumsum(lengths)])
    if behind[-1] <= 0:
        return positions[0] + shares * (positions[-1] - positions[0])
    placed = np.interp(shares, behind / behind[-1], positions)
    placed[shares <= 0], placed[shares >= 1] = positions[0], positions[-1]  # though nothing change at the ends
    return placed
