"""Differences of neighboring pixels."""

import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.losses._base import weighted_mean


def mean_difference(image: Tensor, mask: Tensor | None, name: str) -> Tensor:
    """Mean absolute difference of neighbors of an image (n, c, h, w), along rows plus along columns, (n,).

    A pair of neighbors weighs as much as the darker of its two pixels in the mask. Raises `InputError`, naming the loss
    `name`, for a mask in which no two neighbors count.
    """
    across, down = image.diff(dim=-1).abs(), image.diff(dim=-2).abs()
    if mask is None:
        return weighted_mean(across) + weighted_mean(down)
    in_rows = torch.minimum(mask[..., 1:], mask[..., :-1])
    in_columns = torch.minimum(mask[..., 1:, :], mask[..., :-1, :])
    if not bool((in_rows.amax(dim=(1, 2, 3)) + in_columns.amax(dim=(1, 2, 3)) > 0).all()):
        raise InputError(
            f"`mask` has no two neighboring pixels that count, and {name} compares neighbors.",
            "Draw larger areas into it, or use another loss.",
        )
    return weighted_mean(across, in_rows) + weighted_mean(down, in_columns)
