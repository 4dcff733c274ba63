"""How a decoder bends space: its pull-back metric, and the shortest way between two latents.

A decoder f carries the distances of pictures back to its latents: the metric is G = JᵀJ, J being its Jacobian (Shao,
Kumar and Fletcher, 2018; Arvanitidis, Hansen and Hauberg, 2018). A picture's change is measured here as its RMS over
all pixels and channels, unclamped, in grey levels (1/255 of the range), and a latent's in standard deviations, RMS over
its values. So G is in squared grey levels a squared standard deviation.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from latentflow.errors import InputError
from latentflow.latents.planes import Plane
from latentflow.models.autoencoder import Autoencoder
from latentflow.records import Frame, Record

GREY = 255.0
TOGETHER = 2  # directions that are differentiated at once: memory
WAVES = 8  # of a geodesic: more bend it where nothing is won
POINTS = 16  # pieces that a geodesic is relaxed in
ITERATIONS = 2  # of L-BFGS a record
SETTLED = 1e-4  # share of the energy that a record must win


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricAt(Record):
    """The metric (k, k) at a place of a plane; the first two of its directions are the plane's own."""

    place: tuple[float, float]
    metric: np.ndarray

    @property
    def log_volume(self) -> float:
        """½ ln det G: the logarithm of how much the volume in all k directions grows; −inf where some is lost."""
        return float(np.linalg.slogdet(self.metric)[1]) / 2

    @property
    def speeds(self) -> tuple[float, float]:
        """‖J across‖ and ‖J up‖, grey levels a standard deviation."""
        across, up = np.sqrt(np.diag(self.metric)[:2])
        return float(across), float(up)

    @property
    def anisotropy(self) -> float:
        """How many times faster the picture changes in the plane's fastest direction than in its slowest; ≥ 1."""
        slow, fast = np.linalg.eigvalsh(self.metric[:2, :2])
        return math.sqrt(fast / slow) if slow > 0 else math.inf


@torch.no_grad()
def pullback_metric(autoencoder: Autoencoder, latent: Tensor, directions: Tensor, size: tuple[int, int]) -> np.ndarray:
    """The pull-back metric (k, k) at a latent (1, c, rows, columns) in the basis of directions (k, c, rows, columns).

    G[i, j] = 255² · mean((J aᵢ)(J aⱼ)) over pixels and channels, by one Jacobian-vector product a direction, in forward
    mode: J itself is never formed.
    """

    def change(direction: Tensor) -> Tensor:
        tangents = torch.func.jvp(lambda point: autoencoder.decode(point, size), (latent,), (direction[None],))
        return tangents[1]

    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():  # fused attention has no derivative in forward mode
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, of what its first derivative imports
        changes = torch.func.vmap(change, chunk_size=TOGETHER)(directions)
    flat = changes.flatten(1).cpu().double().numpy() * GREY
    return flat @ flat.T / flat.shape[1]


def basis(plane: Plane, count: int = 2, seed: int = 0) -> Tensor:
    """The plane's directions and random ones, orthogonal to all others and of RMS 1: (count, c, rows, columns).

    Raises `InputError` when latents have fewer values than that.
    """
    own = torch.cat([plane.across, plane.up])
    values = own[0].numel()
    if count > values:
        raise InputError(f"--subspace {count}: latents of this size have {values} values.", "A larger --size has more.")
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count - 2, values, generator=generator, dtype=torch.double)
    columns, _ = torch.linalg.qr(torch.cat([own.flatten(1).cpu().double(), noise]).T)
    others = (columns.T[2:] * math.sqrt(values)).reshape(-1, *own.shape[1:])
    return torch.cat([own, others.to(own.device, own.dtype)])


def measure_plane(
    autoencoder: Autoencoder, plane: Plane, places: Sequence[tuple[float, float]], directions: Tensor
) -> Iterator[MetricAt]:
    """The metric at places of a plane, in directions of which the plane's own are the first two, as `basis` has it."""
    for index, place in enumerate(places):
        metric = pullback_metric(autoencoder, plane.at(*place), directions, plane.size)
        yield MetricAt(index=index, total=len(places) - 1, place=place, metric=metric)


@dataclass(frozen=True, slots=True)
class Curve:
    """A smooth curve between latents `start` and `end`, (1, c, rows, columns): the straight line and sine `waves`
    (k, c, rows, columns) over it.

    Wave k is divided by k: energies punish it by k², and so all of them settle equally fast.
    """

    start: Tensor
    end: Tensor
    waves: Tensor

    def __call__(self, shares: Tensor) -> Tensor:
        """The latents (n, c, rows, columns) at shares (n,) of the way, in [0, 1]."""
        orders = torch.arange(1, len(self.waves) + 1, device=shares.device, dtype=shares.dtype)
        sines = torch.sin(math.pi * shares[:, None] * orders) / orders
        line = self.start + shares.view(-1, 1, 1, 1) * (self.end - self.start)
        return line + torch.einsum("nk,kchw->nchw", sines, self.waves)


def straight(start: Tensor, end: Tensor, waves: int = 0) -> Curve:
    """The straight line between two latents, with so many waves that are still."""
    return Curve(start, end, torch.zeros(waves, *start.shape[1:], device=start.device))


def trace(autoencoder: Autoencoder, curve: Curve, shares: np.ndarray, size: tuple[int, int]) -> Iterator[Frame]:
    """The pictures (1, 3, height, width) at shares of the way, in [0, 1], decoded as they are asked for."""
    for index, share in enumerate(shares.tolist()):
        with torch.no_grad():
            latent = curve(torch.tensor([share], device=curve.start.device))
            image = autoencoder.decode(latent, size)
        yield Frame(index=index, total=len(shares) - 1, latent=latent, image=image)


def stretches(frames: Iterator[Frame]) -> np.ndarray:
    """How far each picture is from the next, (n − 1,): RMS over pixels and channels, unclamped, in grey levels."""
    found, before = [], None
    for frame in frames:
        if before is not None:
            found.append(apart(before, frame.image))
        before = frame.image
    return np.array(found)


def apart(one: Tensor, two: Tensor) -> float:
    """How far two pictures (1, 3, height, width) are apart, as `stretches` has it."""
    return GREY * float((one - two).square().mean().sqrt())


def energy(autoencoder: Autoencoder, latents: Tensor, size: tuple[int, int]) -> tuple[float, Tensor]:
    """n · Σ mean((f(zᵢ₊₁) − f(zᵢ))²) of a chain of n + 1 latents, n > 1, in squared grey levels, and its gradient with
    respect to the latents, zero at both ends.

    It is at least the square of the chain's length, and just that when all steps are equal. Two decodings are held at a
    time, however long the chain is.
    """
    pieces = len(latents) - 1
    points = [point.detach().requires_grad_(0 < index < pieces) for index, point in enumerate(latents.split(1))]
    total, gradient = 0.0, torch.zeros_like(latents)
    here = autoencoder.decode(points[1], size)
    arriving = here.detach() - autoencoder.decode(points[0], size)
    for index in range(1, pieces):
        after = autoencoder.decode(points[index + 1], size)
        leaving = after.detach() - here.detach()
        total += float(arriving.square().mean())
        pull = 2 * pieces * GREY**2 / here.numel() * (arriving - leaving)
        (gradient[index : index + 1],) = torch.autograd.grad(here, points[index], pull)
        here, arriving = after, leaving
    return pieces * GREY**2 * (total + float(arriving.square().mean())), gradient


@dataclass(frozen=True, slots=True, kw_only=True)
class GeodesicStep(Record):
    """A curve on its way to a geodesic, and its energy in squared grey levels: its length is at most the root."""

    curve: Curve
    energy: float


def find_geodesic(
    autoencoder: Autoencoder, start: Tensor, end: Tensor, size: tuple[int, int], *, steps: int = 15
) -> Iterator[GeodesicStep]:
    """Let the straight line between two latents (1, c, rows, columns) slide to where the energy is least.

    The curve may go anywhere in the latent space; only its ends are fixed. L-BFGS moves its waves, for so many steps or
    until one wins less than a ten-thousandth. The record of index 0 is the straight line, each later one the best till
    then.
    """
    shares = torch.linspace(0, 1, POINTS + 1, device=start.device)
    curve = straight(start, end, WAVES)
    waves = curve.waves.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [waves], max_iter=ITERATIONS, line_search_fn="strong_wolfe", tolerance_grad=0, tolerance_change=0
    )

    least, found = math.inf, waves

    def look() -> float:
        nonlocal least, found
        chain = curve(shares)
        value, gradient = energy(autoencoder, chain, size)
        (waves.grad,) = torch.autograd.grad(chain, waves, gradient)
        if value < least:
            least, found = value, waves.detach().clone()
        return value

    before = look()
    for index in range(steps + 1):
        yield GeodesicStep(index=index, total=steps, curve=Curve(start, end, found), energy=least)
        if index == steps or (index and not least < before * (1 - SETTLED)):
            return
        before = least
        optimizer.step(look)
