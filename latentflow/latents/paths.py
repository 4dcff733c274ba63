"""Paths between points of a latent space, and the positions of frames on them."""

import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.records import Frame
from latentflow.base.surroundings import undisturbed

MIN_ANGLE = 1e-4  # radians: a smaller arc is replaced by a line
MIN_NORM_FRACTION = 0.25  # of the wanted norm: where a spline passes closer to the origin, it is not scaled up fully

Timing = Callable[[np.ndarray, int], np.ndarray]


@undisturbed
def slerp(one: Tensor, two: Tensor, fraction: float) -> Tensor:
    """The points at `fraction` in [0, 1] of the distance from latents (n, c, rows, columns), or any samples (n, …), to
    others along arcs, each sample along its own.

    Samples are taken as flat vectors; the direction follows the great circle (Shoemake, 1985) and the norm is
    interpolated linearly, since latents in many dimensions lie near a sphere. Parallel vectors, and zero, are joined by
    a line; opposite vectors by the half circle through a fixed perpendicular. Raises `InputError` for latents of
    different shapes or no floats, and for a `fraction` that is no number in [0, 1].
    """
    _check_floats("one", one)
    _check_floats("two", two)
    if one.shape != two.shape:
        raise InputError(f"`one` has the shape {tuple(one.shape)}, but `two` has {tuple(two.shape)}.")
    if not isinstance(fraction, Real) or not 0 <= fraction <= 1:
        raise InputError(f"`fraction` must be a number from 0 to 1, not {fraction!r}.")
    return torch.stack([_arc(first, last, float(fraction)) for first, last in zip(one, two, strict=True)])


def _check_floats(name: str, values: Tensor) -> None:
    if not isinstance(values, Tensor) or not values.is_floating_point():
        raise InputError(f"`{name}` must be a tensor of floats, not {type(values).__name__}.")
    if values.ndim < 2 or not values.numel():
        raise InputError(f"`{name}` must have the shape (n, c, rows, columns), not {tuple(values.shape)}.")


def _check_latents(name: str, latents: Tensor, least: int = 1) -> None:
    _check_floats(name, latents)
    if latents.ndim != 4:
        raise InputError(f"`{name}` must have the shape (n, c, rows, columns), not {tuple(latents.shape)}.")
    if len(latents) < least:
        raise InputError(f"`{name}` must hold at least {least} latents, not {len(latents)}.")


def _arc(one: Tensor, two: Tensor, fraction: float) -> Tensor:
    """The point at a fraction of the arc from one tensor to another of its shape."""
    first, last = one.flatten().cpu().double(), two.flatten().cpu().double()  # which not every device computes in
    norms = first.norm(), last.norm()
    if min(norms) == 0:
        return torch.lerp(one, two, fraction)
    first, last = first / norms[0], last / norms[1]
    angle = 2 * torch.atan2((first - last).norm(), (first + last).norm()).item()  # exact where arccos isn't
    if angle < MIN_ANGLE:
        return torch.lerp(one, two, fraction)
    if math.pi - angle < MIN_ANGLE:
        across = _perpendicular(first)
        direction = math.cos(angle * fraction) * first + math.sin(angle * fraction) * across
    else:
        parts = math.sin((1 - fraction) * angle), math.sin(fraction * angle)
        direction = (parts[0] * first + parts[1] * last) / math.sin(angle)
    return (direction * torch.lerp(*norms, fraction)).to(one).reshape(one.shape)


def _perpendicular(direction: Tensor) -> Tensor:
    """A unit vector orthogonal to a unit vector, always the same."""
    other = torch.zeros_like(direction)
    other[direction.abs().argmin()] = 1.0
    other -= (other @ direction) * direction
    return other / other.norm()


class LatentPath:
    """A path through latents (n, c, rows, columns), n ≥ 2; `path(t)` is the point at t in [0, segments].

    `method` is slerp, lerp, or spline: a cubic spline through all of them (natural ends), rescaled to norms that a
    monotone cubic interpolates between the anchors', so that the path is C¹ except where the spline passes near the
    origin. With `loop` the path returns to the first. Raises `InputError` for anchors of different shapes, and for an
    unknown method.
    """

    def __init__(self, anchors: Tensor, method: str = "slerp", *, loop: bool = False) -> None:
        ways = {"slerp": self._slerp, "lerp": self._lerp, "spline": self._spline}
        _check_latents("anchors", anchors, least=1 if loop else 2)
        if method not in ways:
            raise InputError(f"`method` is one of {', '.join(ways)}, not {method!r}.")
        self.loop = loop
        self.anchors = torch.cat([anchors, anchors[:1]]) if loop else anchors
        self.segments = len(self.anchors) - 1
        self._at = ways[method]
        if method == "spline":
            from scipy.interpolate import CubicSpline, PchipInterpolator

            knots = np.arange(len(self.anchors))
            flat = self.anchors.flatten(1).cpu().double().numpy()
            self._curve = CubicSpline(knots, flat, bc_type="periodic" if loop else "natural")
            norms = np.linalg.norm(flat, axis=1)
            if loop:  # one more on each side, so that the loop has no corner where it closes
                knots, norms = np.arange(-1, len(flat) + 1), np.concatenate([norms[-2:-1], norms, norms[1:2]])
            self._norm = PchipInterpolator(knots, norms)

    def __call__(self, position: float) -> Tensor:
        """The latent (1, c, rows, columns) at a position, which is clamped to [0, segments]; raises `InputError` for
        anything but a number."""
        if not isinstance(position, Real) or math.isnan(position):
            raise InputError(f"`position` must be a number, not {position!r}.")
        return self._at(min(max(float(position), 0.0), float(self.segments)))

    def _split(self, position: float) -> tuple[Tensor, Tensor, float]:
        index = min(int(position), self.segments - 1)
        return self.anchors[index : index + 1], self.anchors[index + 1 : index + 2], position - index

    def _slerp(self, position: float) -> Tensor:
        return slerp(*self._split(position))

    def _lerp(self, position: float) -> Tensor:
        return torch.lerp(*self._split(position))

    def _spline(self, position: float) -> Tensor:
        point = self._curve(position)
        wanted, found = float(self._norm(position)), float(np.linalg.norm(point))
        if found > 0:
            point = point * (wanted / max(found, MIN_NORM_FRACTION * wanted))
        like = self.anchors[:1]
        return torch.from_numpy(point).to(like.device, like.dtype).reshape(like.shape)


def _stops(time: np.ndarray, segments: int) -> np.ndarray:
    start = np.minimum(np.floor(time * segments), segments - 1)
    return (start + _smooth(time * segments - start)) / segments


def _smooth(time: np.ndarray) -> np.ndarray:
    return time * time * (3 - 2 * time)


# The fraction of a path with some number of segments that is covered at times in [0, 1].
TIMINGS: dict[str, Timing] = {
    "linear": lambda time, segments: time,
    "in_out": lambda time, segments: _smooth(time),
    "stops": _stops,
}


def frame_times(frames: int, *, loop: bool = False) -> np.ndarray:
    """The times in [0, 1] of evenly spaced frames; a loop's leave out 1, where the first frame comes again."""
    return np.arange(frames) / (frames if loop else max(frames - 1, 1))


def pass_through(positions: np.ndarray, stops: Sequence[float], end: float | None = None) -> np.ndarray:
    """Positions (n,), ascending, moved so that each of the ascending `stops` is exactly one of them: the nearest goes
    there, and those between two stops move in proportion. Those after the last stop move in proportion to `end`, where
    the first frame of a loop comes again, and without one stay. Fewer positions than stops stay as they are."""
    if end is not None and len(stops) <= len(positions):
        return pass_through(np.append(positions, end), [*stops, end])[:-1]
    wanted = np.asarray(stops, dtype=float)
    if not 0 < len(wanted) <= len(positions):
        return positions
    chosen = [int(np.abs(positions - stop).argmin()) for stop in wanted]
    for index in range(len(chosen)):  # two stops don't share one
        chosen[index] = max(chosen[index], chosen[index - 1] + 1 if index else 0)
    for index in reversed(range(len(chosen))):
        chosen[index] = min(chosen[index], (chosen[index + 1] if index + 1 < len(chosen) else len(positions)) - 1)
    moved = positions.astype(float)
    for first, last, start, end in zip(chosen, chosen[1:], wanted, wanted[1:]):
        old = positions[first : last + 1]
        shares = (old - old[0]) / (old[-1] - old[0]) if old[-1] > old[0] else np.linspace(0, 1, len(old))
        moved[first : last + 1] = start + (end - start) * shares
    moved[chosen] = wanted
    return moved


def place_evenly(positions: np.ndarray, steps: Sequence[float], fractions: np.ndarray) -> np.ndarray:
    """The positions on a path at `fractions`, in [0, 1], of its length.

    `steps` (n,) are the lengths of the pieces between `positions` (n + 1,), which are ascending.
    """
    lengths = np.maximum(np.asarray(steps, dtype=float), 0)
    covered = np.concatenate([[0.0], np.cumsum(lengths)])
    if covered[-1] <= 0:
        return positions[0] + fractions * (positions[-1] - positions[0])
    placed = np.interp(fractions, covered / covered[-1], positions)
    placed[fractions <= 0], placed[fractions >= 1] = positions[0], positions[-1]  # also where the ends don't change
    return placed


def step_sizes(frames: Iterable[Frame], measure: Callable[[Tensor, Tensor], float]) -> list[float]:
    """The distance of each frame's picture (1, 3, h, w) from the next one's, (n − 1,), as `measure` gives it."""
    sizes, previous = [], None
    for frame in frames:
        if previous is not None:
            sizes.append(measure(previous, frame.image))
        previous = frame.image
    return sizes
