"""Planes in a latent space: through three points, around one, or along the principal components of a folder."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.files import WrittenFiles
from latentflow.base.options import counted
from latentflow.base.pixels import to_uint8
from latentflow.base.session import Session
from latentflow.base.surroundings import undisturbed
from latentflow.latents.index import check_folder, read_latents
from latentflow.latents.pca import principal_components
from latentflow.latents.sources import Anchors, check_anchors, read_anchors
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.config import ReadingOptions
from latentflow.pictures.reader import Reader

MARGIN = 0.25  # added on each side of three points, as a fraction of their larger extent
REACH_IN_STD = 2.0  # standard deviations of a folder's latents from the center of its plane to the edge
MIN_RMS = 1e-6  # points closer than this are the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """The latents `origin + x · across + y · up`, all (1, c, rows, columns).

    `across` and `up` are orthogonal and of RMS 1, so that coordinates are in standard deviations of a latent value.
    `extent` is (left, right, bottom, top), `size` the height and width of the pictures, `marks` the coordinates of the
    points that the plane is defined by, under their names, `axes` the names of the two directions. `originals` are the
    pictures (h, w, 3) uint8 of those points that were images; `images` (n, 2) are the coordinates nearest to the images
    of a folder.
    """

    origin: Tensor
    across: Tensor
    up: Tensor
    extent: tuple[float, float, float, float]
    size: tuple[int, int]
    marks: dict[str, tuple[float, float]]
    axes: tuple[str, str]
    originals: dict[str, np.ndarray] = field(default_factory=dict)
    images: np.ndarray | None = None

    def at(self, x: float, y: float) -> Tensor:
        """The latent (1, c, rows, columns) at coordinates."""
        return self.origin + x * self.across + y * self.up

    def points(self, columns: int, rows: int) -> list[list[tuple[float, float]]]:
        """Coordinates of `rows` × `columns` evenly spaced points, the edges included, row by row from the top."""
        left, right, bottom, top = self.extent
        xs = torch.linspace(left, right, columns, dtype=torch.float32).tolist() if columns > 1 else [(left + right) / 2]
        ys = torch.linspace(top, bottom, rows, dtype=torch.float32).tolist() if rows > 1 else [(bottom + top) / 2]
        return [[(x, y) for x in xs] for y in ys]

    def lattice(self, columns: int, rows: int) -> tuple[list[float], list[float]]:
        """The x of columns and the y of rows, from the top: evenly spaced, the edges included, but moved so far that
        each mark lies on one where no other is nearer to it."""
        left, right, bottom, top = self.extent
        xs, ys = ([place[axis] for place in self.marks.values()] for axis in (0, 1))
        return _lines_through(left, right, columns, xs), _lines_through(top, bottom, rows, ys)

    def tiles(self, columns: int, rows: int) -> list[list[tuple[float, float]]]:
        """The coordinates of the `lattice`, row by row from the top; each mark has a place of its own, the nearest,
        exactly."""
        xs, ys = self.lattice(columns, rows)
        places = {(row, column): (x, y) for row, y in enumerate(ys) for column, x in enumerate(xs)}
        free = set(places)
        for mark in self.marks.values():
            nearest = min(sorted(free), key=lambda each: math.dist(places[each], mark), default=None)
            if nearest is not None:
                places[nearest] = mark
                free.discard(nearest)
        return [[places[row, column] for column in range(columns)] for row in range(rows)]


def _lines_through(first: float, last: float, count: int, stops: Sequence[float]) -> list[float]:
    """`count` values from first to last, as evenly spaced as they can be if the one nearest to a stop is the stop."""
    fixed = {0: first, count - 1: last}
    taken: set[int] = set()
    for stop in sorted(set(stops)):
        index = round((stop - first) / (last - first) * (count - 1))
        if index not in taken:
            taken.add(index)
            fixed[index] = stop
    known = sorted(fixed)
    return [float(each) for each in np.interp(range(count), known, [fixed[index] for index in known])]


def check_plane(
    sources: Sequence[str],
    *,
    latent_of: str | None = None,
    max_pixels: int = ReadingOptions.max_pixels,
    around: Sequence[str] = (),
) -> None:
    """Raise `InputError` unless the sources are three points, one point, or one folder. `around` names the options that
    were given and have an effect on a plane around one point alone."""
    if around and (len(sources) > 1 or _is_folder(sources)):
        raise InputError(f"`{around[0]}` would have no effect: the plane isn't around one image.", "Leave it out.")
    if _is_folder(sources):
        check_folder(Path(sources[0]).expanduser())
        return
    if len(sources) not in (1, 3):
        raise InputError(
            "A plane goes through three images, around one, or through a folder; "
            f"{counted(len(sources), '', 'were')} given.",
            "For example: examples/spheres.png examples/cat.png random:7",
        )
    check_anchors(sources, 1, latent_of=latent_of, max_pixels=max_pixels)


def make_plane(
    sources: Sequence[str],
    autoencoder: Autoencoder,
    size: int,
    mode: str,
    session: Session,
    reader: Reader | None = None,
    *,
    seed: int = 0,
    reach: float = 1.5,
    latent_of: str | None = None,
    written: WrittenFiles | None = None,
) -> Plane:
    """The plane of sources that `check_plane` has passed: `plane_through` three points, `plane_around` one, or
    `principal_plane` of a folder.

    Pictures have `size` pixels on the longer side, fitted as `mode` says; those of a folder are squares. `written`
    watches the index of a folder's latents. Raises `InputError` for what can't be read and where there is no plane.
    """
    if _is_folder(sources):
        folder = Path(sources[0]).expanduser()
        found = read_latents(folder, autoencoder, size, session, reader, least=3, written=written)
        return principal_plane(found.latents.to(autoencoder.device), (size, size))
    anchors = read_anchors(sources, autoencoder, size, mode, reader, latent_of=latent_of)
    if len(sources) == 1:
        return plane_around(anchors, seed=seed, reach=reach)
    if len(set(anchors.names)) < len(sources):
        anchors = Anchors(list(sources), anchors.latents, anchors.size, anchors.targets)
    return plane_through(anchors)


@undisturbed
def plane_through(anchors: Anchors) -> Plane:
    """The plane through three points: the first is the origin, the second lies on the horizontal axis, the third above
    it. Raises `InputError` when the points lie on a line."""
    origin, second, third = anchors.latents.split(1)
    across, up = _orthogonal(second - origin, third - origin)
    places = [((latent - origin) * across, (latent - origin) * up) for latent in (origin, second, third)]
    coordinates = [(float(x.mean()), float(y.mean())) for x, y in places]
    names = anchors.names
    return Plane(
        origin=origin,
        across=across,
        up=up,
        extent=_around(coordinates),
        size=anchors.size,
        marks=dict(zip(names, coordinates)),
        originals=_originals(anchors),
        axes=(f"from {names[0]} towards {names[1]}", f"towards {names[2]}"),
    )


@undisturbed
def plane_around(anchors: Anchors, *, seed: int = 0, reach: float = 1.5) -> Plane:
    """The plane around one point, in two random orthogonal directions that `seed` determines, to `reach` standard
    deviations on each side."""
    origin = anchors.latents[:1]
    generator = torch.Generator().manual_seed(seed)
    noise = [torch.randn(origin.shape, generator=generator, dtype=torch.float32).to(origin.device) for _ in range(2)]
    across, up = _orthogonal(*noise)
    return Plane(
        origin=origin,
        across=across,
        up=up,
        extent=(-reach, reach, -reach, reach),
        size=anchors.size,
        marks={anchors.names[0]: (0.0, 0.0)},
        originals=_originals(anchors),
        axes=("a random direction", "another, orthogonal"),
    )


@undisturbed
def principal_plane(latents: Tensor, size: tuple[int, int]) -> Plane:
    """The plane through the mean of latents (n, c, rows, columns), n > 2, along their first two principal components,
    to two standard deviations of the latents on each side.

    `size` is the height and width of their pictures. Raises `InputError` when the latents lie on a line.
    """
    components = principal_components(latents, 2)
    norm = math.sqrt(components.mean.numel())  # of a latent of RMS 1
    reach = components.coordinates.std(0) / norm * REACH_IN_STD
    if len(reach) < 2 or min(reach) < MIN_RMS:
        raise InputError("The images lie on a line of the latent space; no plane is defined.")
    fractions = components.variance_fractions
    return Plane(
        origin=components.mean,
        across=components.directions[:1] * norm,
        up=components.directions[1:2] * norm,
        extent=(-float(reach[0]), float(reach[0]), -float(reach[1]), float(reach[1])),
        size=size,
        marks={},
        images=np.asarray(components.coordinates[:, :2]) / norm,
        axes=(f"1st principal component ({fractions[0]:.0%} of variance)", f"2nd ({fractions[1]:.0%})"),
    )


def _originals(anchors: Anchors) -> dict[str, np.ndarray]:
    return {name: to_uint8(target) for name, target in zip(anchors.names, anchors.targets) if target is not None}


def _is_folder(sources: Sequence[str]) -> bool:
    return len(sources) == 1 and Path(sources[0]).expanduser().is_dir()


def _orthogonal(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """Two orthogonal directions of RMS 1 that span the same plane."""
    length = one.square().mean().sqrt()
    if length > MIN_RMS:
        one = one / length
        two = two - (two * one).mean() * one
        height = two.square().mean().sqrt()
        if height > MIN_RMS:
            return one, two / height
    raise InputError("The three points lie on a line of the latent space; no plane is defined.")


def _around(places: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    xs, ys = [x for x, _ in places], [y for _, y in places]
    margin = MARGIN * max(max(xs) - min(xs), max(ys) - min(ys))
    return min(xs) - margin, max(xs) + margin, min(ys) - margin, max(ys) + margin
