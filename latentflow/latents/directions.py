"""Directions to move a latent along: a channel, or smooth noise, orthogonal to all others of its seed."""

import math

import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.options import counted


def channel_direction(shape: tuple[int, ...], channel: int) -> Tensor:
    """The direction (1, c, rows, columns) of one channel, 1 in all its places; raises `InputError` for a number that
    the latent doesn't have."""
    if channel >= shape[1]:
        raise InputError(f"There is no channel {channel}: this autoencoder has channels 0 to {shape[1] - 1}.")
    direction = torch.zeros(shape, dtype=torch.float32)
    direction[:, channel] = 1
    return direction


def smooth_directions(shape: tuple[int, ...], count: int, seed: int) -> Tensor:
    """Orthogonal directions (count, c, rows, columns) of RMS 1 for latents (1, c, rows, columns), always the same for a
    seed.

    They are noise on a coarse grid, interpolated; the grid is as coarse as the number of directions allows. Independent
    noise in every place would look like noise; this tints regions. Raises `InputError` where a latent has fewer values
    than `count`.
    """
    _, channels, rows, columns = shape
    side = next(
        (side for side in range(1, max(rows, columns) + 1) if channels * min(side, rows) * min(side, columns) >= count),
        None,
    )
    if side is None:
        raise InputError(
            f"Latents of {counted(math.prod(shape), 'value')} have fewer than {count} directions.",
            "A larger `size` has more.",
        )
    grid = (min(side, rows), min(side, columns))
    noise = torch.randn(count, channels, *grid, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    smooth = torch.nn.functional.interpolate(noise, (rows, columns), mode="bilinear", align_corners=False)
    basis, triangle = torch.linalg.qr(smooth.flatten(1).T)
    basis = basis * triangle.diagonal().sign()  # each then points along its own noise
    return (basis.T * math.sqrt(math.prod(shape))).float().reshape(count, *shape[1:])


def with_norm_of(moved: Tensor, base: Tensor) -> Tensor:
    """A latent scaled to the norm of another, so that a sum of directions stays where the decoder was trained."""
    norm = moved.norm()
    return moved if norm == 0 or base.norm() == 0 else moved * (base.norm() / norm)


def mixture(anchors: Tensor, weights: Tensor) -> Tensor:
    """The latent (1, c, rows, columns) that mixes latents (n, c, rows, columns) by weights (n,) that add up to 1, with
    the mean of their norms: a plain mean of independent latents would be shorter than each."""
    weights = weights.to(anchors)
    mixed = torch.einsum("n,nchw->chw", weights, anchors)[None]
    norm = float((weights * anchors.flatten(1).norm(dim=1)).sum())
    return mixed * (norm / float(mixed.norm())) if float(mixed.norm()) > 0 else mixed
