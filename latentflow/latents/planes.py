"""Planes through a latent space: through three points, around one, or along what differs most in a folder."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from latentflow.errors import InputError
from latentflow.interrupts import Interrupts, Say
from latentflow.latents.index import check_folder, read_latents
from latentflow.latents.pca import principal_components
from latentflow.latents.sources import check_anchors, read_anchors
from latentflow.models.autoencoder import Autoencoder

MARGIN = 0.25  # of a plane beyond what it is laid through
SPREAD = 2.0  # standard deviations of a folder's latents that its plane reaches to
LEAST = 1e-6  # RMS distance of points that are the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """The points `origin + x · across + y · up`, all (1, c, rows, columns).

    `across` and `up` are orthogonal and of RMS 1, so coordinates are in standard deviations a latent value. `extent`
    is (left, right, bottom, top), `size` the height and width of the pictures, `marks` what the plane is laid through,
    `axes` what the two directions are. `written` holds the index of a folder's latents.
    """

    origin: Tensor
    across: Tensor
    up: Tensor
    extent: tuple[float, float, float, float]
    size: tuple[int, int]
    marks: dict[str, tuple[float, float]]
    axes: tuple[str, str]
    written: tuple[Path, ...] = ()

    def at(self, x: float, y: float) -> Tensor:
        """The latent (1, c, rows, columns) at coordinates."""
        return self.origin + x * self.across + y * self.up

    def points(self, columns: int, rows: int) -> list[list[tuple[float, float]]]:
        """Coordinates of so many evenly spread points, the edges among them, row by row from the top."""
        left, right, bottom, top = self.extent
        xs = torch.linspace(left, right, columns).tolist() if columns > 1 else [(left + right) / 2]
        ys = torch.linspace(top, bottom, rows).tolist() if rows > 1 else [(bottom + top) / 2]
        return [[(x, y) for x in xs] for y in ys]


def check_plane(sources: Sequence[str]) -> None:
    """Raise `InputError` unless the sources are three points, one point, or one folder."""
    if len(sources) == 1 and Path(sources[0]).expanduser().is_dir():
        check_folder(Path(sources[0]).expanduser())
        return
    if len(sources) not in (1, 3):
        raise InputError(
            f"A plane goes through three images, around one, or through a folder; {len(sources)} were given.",
            "For example: examples/spheres.png examples/cat.png random:7",
        )
    check_anchors(sources, 1)


def make_plane(
    sources: Sequence[str],
    autoencoder: Autoencoder,
    size: int,
    mode: str,
    interrupts: Interrupts,
    say: Say,
    *,
    seed: int = 0,
    reach: float = 1.5,
    quiet: bool = False,
) -> Plane:
    """Lay a plane through sources that `check_plane` has passed.

    Through three points: the first is the origin, the second lies on the horizontal axis. Around one: two random
    orthogonal directions of `seed`, as far as `reach` standard deviations. Through a folder: its mean and its first two
    principal components, two standard deviations wide. Raises `InputError` when three points are on a line.
    """
    path = Path(sources[0]).expanduser()
    if len(sources) == 1 and path.is_dir():
        return _of_folder(path, autoencoder, size, interrupts, say, quiet)
    anchors = read_anchors(sources, autoencoder, size, mode)
    origin = anchors.latents[:1]
    if len(sources) == 1:
        generator = torch.Generator().manual_seed(seed)
        noise = [torch.randn(origin.shape, generator=generator).to(origin.device) for _ in range(2)]
        across, up = _orthogonal(*noise)
        return Plane(
            origin=origin,
            across=across,
            up=up,
            extent=(-reach, reach, -reach, reach),
            size=anchors.size,
            marks={anchors.names[0]: (0.0, 0.0)},
            axes=("a random direction", "another, orthogonal"),
        )
    across, up = _orthogonal(anchors.latents[1:2] - origin, anchors.latents[2:3] - origin)
    places = [((latent - origin) * across, (latent - origin) * up) for latent in anchors.latents.split(1)]
    coordinates = [(float(x.mean()), float(y.mean())) for x, y in places]
    names = anchors.names if len(set(anchors.names)) == 3 else list(sources)
    return Plane(
        origin=origin,
        across=across,
        up=up,
        extent=_around(coordinates),
        size=anchors.size,
        marks=dict(zip(names, coordinates)),
        axes=(f"from {names[0]} towards {names[1]}", f"towards {names[2]}"),
    )


def _of_folder(
    folder: Path, autoencoder: Autoencoder, size: int, interrupts: Interrupts, say: Say, quiet: bool
) -> Plane:
    found = read_latents(folder, autoencoder, size, interrupts, say, quiet=quiet, least=3)
    components = principal_components(found.latents, 2)
    unit = math.sqrt(components.mean.numel())  # the norm of what has RMS 1
    reach = components.coordinates.std(0) / unit * SPREAD
    if len(reach) < 2 or min(reach) < LEAST:
        raise InputError(f"The images of {folder} lie on a line of the latent space: there is no plane through them.")
    shares = components.shares
    return Plane(
        origin=components.mean.to(autoencoder.device),
        across=components.directions[:1].to(autoencoder.device) * unit,
        up=components.directions[1:2].to(autoencoder.device) * unit,
        extent=(-reach[0], reach[0], -reach[1], reach[1]),
        size=(size, size),
        marks={},
        axes=(f"1st principal component ({shares[0]:.0%} of variance)", f"2nd ({shares[1]:.0%})"),
        written=(found.index,),
    )


def _orthogonal(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """Two orthogonal directions of RMS 1 that span the same plane."""
    length = one.square().mean().sqrt()
    if length > LEAST:
        one = one / length
        two = two - (two * one).mean() * one
        height = two.square().mean().sqrt()
        if height > LEAST:
            return one, two / height
    raise InputError("The three points lie on a line of the latent space: there is no plane through them.")


def _around(places: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    xs, ys = [x for x, _ in places], [y for _, y in places]
    margin = MARGIN * max(max(xs) - min(xs), max(ys) - min(ys))
    return min(xs) - margin, max(xs) + margin, min(ys) - margin, max(ys) + margin
