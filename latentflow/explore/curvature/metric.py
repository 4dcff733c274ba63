"""The pull-back metric of a decoder, and the shortest path between two latents under it.

A decoder f carries the distances of pictures back to its latents: the metric is G = JᵀJ, J being its Jacobian (Shao,
Kumar and Fletcher, 2018; Arvanitidis, Hansen and Hauberg, 2018). A picture's change is measured as its RMS over all
pixels and channels, unclamped, in gray levels (1/255 of the range), and a latent's in standard deviations, RMS over its
values. G is in squared gray levels per squared standard deviation.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from latentflow.base.errors import InputError
from latentflow.base.records import Frame, Record
from latentflow.base.surroundings import undisturbed
from latentflow.latents.decode import decode_frames
from latentflow.latents.planes import Plane
from latentflow.models.autoencoder import Autoencoder

GRAY_LEVELS = 255.0
DIRECTIONS_AT_ONCE = 2  # that are differentiated in one pass: more take more memory
GEODESIC_WAVES = 8  # more curve it without making it shorter
GEODESIC_SEGMENTS = 16  # of the chain of points; its energy is minimized
LBFGS_ITERATIONS = 2  # for each record
MIN_ENERGY_GAIN = 1e-4  # fraction of the energy that a step must save, or the search ends


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricAt(Record):
    """The metric (k, k) at the coordinates `place` of a plane; its first two directions are the plane's own."""

    place: tuple[float, float]
    metric: np.ndarray

    @property
    def log_volume(self) -> float:
        """½ ln det G: the logarithm of the volume element in all k directions; −inf where a direction is lost."""
        return float(np.linalg.slogdet(self.metric)[1]) / 2

    @property
    def speeds(self) -> tuple[float, float]:
        """‖J across‖ and ‖J up‖, in gray levels per standard deviation."""
        across, up = np.sqrt(np.diag(self.metric)[:2])
        return float(across), float(up)

    @property
    def anisotropy(self) -> float:
        """The speed in the plane's fastest direction over that in its slowest; ≥ 1, inf where one is lost."""
        slow, fast = np.linalg.eigvalsh(self.metric[:2, :2])
        return math.sqrt(fast / slow) if slow > 0 else math.inf


@undisturbed
@torch.no_grad()
def pullback_metric(autoencoder: Autoencoder, latent: Tensor, directions: Tensor, size: tuple[int, int]) -> np.ndarray:
    """The pull-back metric (k, k) at a latent (1, c, rows, columns) in the basis of directions (k, c, rows, columns).

    G[i, j] = 255² · mean((J aᵢ)(J aⱼ)) over pixels and channels, by one Jacobian-vector product per direction in
    forward mode; J itself is never formed.
    """

    def change(direction: Tensor) -> Tensor:
        tangents = torch.func.jvp(lambda point: autoencoder.decode(point, size), (latent,), (direction[None],))
        return tangents[1]

    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():  # fused attention has no derivative in forward mode
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, of what its first derivative imports
        changes = torch.func.vmap(change, chunk_size=DIRECTIONS_AT_ONCE, randomness="same")(directions)
    flat = changes.flatten(1).cpu().double().numpy() * GRAY_LEVELS
    return flat @ flat.T / flat.shape[1]


@undisturbed
def plane_basis(plane: Plane, count: int = 2, seed: int = 0) -> Tensor:
    """The plane's directions and random ones up to `count`, all orthogonal and of RMS 1: (count, c, rows, columns).

    Raises `InputError` when latents have fewer than `count` values.
    """
    own = torch.cat([plane.across, plane.up])
    values = own[0].numel()
    if count > values:
        raise InputError(f"`subspace` {count}: latents of this size have {values} values.", "A larger `size` has more.")
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count - 2, values, generator=generator, dtype=torch.double)
    columns, _ = torch.linalg.qr(torch.cat([own.flatten(1).cpu().double(), noise]).T)
    others = (columns.T[2:] * math.sqrt(values)).reshape(-1, *own.shape[1:])
    return torch.cat([own, others.to(own.device, own.dtype)])


@undisturbed
def measure_plane(
    autoencoder: Autoencoder, plane: Plane, places: Sequence[tuple[float, float]], directions: Tensor
) -> Iterator[MetricAt]:
    """The metric at places of a plane, in directions (k, c, rows, columns) from `plane_basis`."""
    for index, place in enumerate(places):
        metric = pullback_metric(autoencoder, plane.at(*place), directions, plane.size)
        yield MetricAt(index=index, total=len(places) - 1, place=place, metric=metric)


@dataclass(frozen=True, slots=True)
class Curve:
    """A smooth curve between latents `start` and `end`, (1, c, rows, columns): the straight line plus sine `waves`
    (k, c, rows, columns).

    Wave k is divided by k: the energy grows with its square times k², and so all waves converge equally fast.
    """

    start: Tensor
    end: Tensor
    waves: Tensor

    def __call__(self, fractions: Tensor) -> Tensor:
        """The latents (n, c, rows, columns) at fractions (n,) of the curve's parameter, in [0, 1]."""
        orders = torch.arange(1, len(self.waves) + 1, device=fractions.device, dtype=fractions.dtype)
        sines = torch.sin(math.pi * fractions[:, None] * orders) / orders
        line = self.start + fractions.view(-1, 1, 1, 1) * (self.end - self.start)
        return line + torch.einsum("nk,kchw->nchw", sines, self.waves)


def straight_line(start: Tensor, end: Tensor, waves: int = 0) -> Curve:
    """The straight line between two latents, as a curve with `waves` waves that are zero."""
    return Curve(start, end, start.new_zeros(waves, *start.shape[1:]))


def decode_curves(
    autoencoder: Autoencoder, curves: Sequence[Curve], fractions: Sequence[np.ndarray], size: tuple[int, int]
) -> Iterator[Frame]:
    """Frames with the latents and pictures, (n, …), of n curves; each curve has its own `fractions`, in [0, 1].

    Pictures are of `size` (height, width) and decoded as they are asked for.
    """

    @torch.no_grad()
    def points(places: Sequence[float]) -> Tensor:
        return torch.cat([curve(curve.start.new_tensor([place])) for curve, place in zip(curves, places)])

    latents = map(points, zip(*(each.tolist() for each in fractions)))
    return decode_frames(autoencoder, latents, size, total=len(fractions[0]) - 1)


def gray_level_distance(one: Tensor, two: Tensor) -> float:
    """The distance of two pictures (1, 3, height, width): RMS over pixels and channels, unclamped, in gray levels."""
    return GRAY_LEVELS * float((one - two).square().mean().sqrt())


def energy(autoencoder: Autoencoder, latents: Tensor, size: tuple[int, int]) -> tuple[float, Tensor]:
    """n · Σ mean((f(zᵢ₊₁) − f(zᵢ))²) of a chain of n + 1 latents, n > 1, in squared gray levels, and its gradient with
    respect to the latents, zero at both ends.

    The energy is at least the square of the chain's length, and equal to it when all steps are. Two decodings are held
    in memory at a time.
    """
    segments = len(latents) - 1
    points = [point.detach().requires_grad_(0 < index < segments) for index, point in enumerate(latents.split(1))]
    total, gradient = 0.0, torch.zeros_like(latents)
    current = autoencoder.decode(points[1], size)
    arriving = current.detach() - autoencoder.decode(points[0], size)
    for index in range(1, segments):
        after = autoencoder.decode(points[index + 1], size)
        leaving = after.detach() - current.detach()
        total += float(arriving.square().mean())
        pull = 2 * segments * GRAY_LEVELS**2 / current.numel() * (arriving - leaving)
        (gradient[index : index + 1],) = torch.autograd.grad(current, points[index], pull)
        current, arriving = after, leaving
    return segments * GRAY_LEVELS**2 * (total + float(arriving.square().mean())), gradient


@dataclass(frozen=True, slots=True, kw_only=True)
class GeodesicStep(Record):
    """The best curve of a search so far, and the energy of its chain of `GEODESIC_SEGMENTS` segments in squared gray
    levels. The chain's length is at most the root of that; in finer steps the curve can be longer, since pictures
    change to and fro within a segment too."""

    curve: Curve
    energy: float


@undisturbed
def find_geodesic(
    autoencoder: Autoencoder, start: Tensor, end: Tensor, size: tuple[int, int], *, steps: int = 15
) -> Iterator[GeodesicStep]:
    """Search for the geodesic between two latents (1, c, rows, columns), from the straight line.

    The curve may go anywhere in the latent space; only its ends are fixed. L-BFGS minimizes the energy over its waves,
    for `steps` steps or until one saves less than a ten-thousandth. The record of index 0 is the straight line, each
    later one the best curve so far; `size` is the height and width of the pictures.
    """
    fractions = torch.linspace(0, 1, GEODESIC_SEGMENTS + 1, device=start.device, dtype=start.dtype)
    curve = straight_line(start, end, GEODESIC_WAVES)
    waves = curve.waves.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [waves], max_iter=LBFGS_ITERATIONS, line_search_fn="strong_wolfe", tolerance_grad=0, tolerance_change=0
    )

    least, best = math.inf, waves

    def evaluate() -> float:
        nonlocal least, best
        chain = curve(fractions)
        value, gradient = energy(autoencoder, chain, size)
        (waves.grad,) = torch.autograd.grad(chain, waves, gradient)
        if value < least:
            least, best = value, waves.detach().clone()
        return value

    before = evaluate()
    for index in range(steps + 1):
        yield GeodesicStep(index=index, total=steps, curve=Curve(start, end, best), energy=least)
        if index == steps or (index and not least < before * (1 - MIN_ENERGY_GAIN)):
            return
        before = least
        optimizer.step(evaluate)
