"""LATENT of ComfyUI: a dict of `samples` (n, c, rows, columns), or (n, c, frames, rows, columns) of video VAEs, in the
VAE's own units, and of more: `noise_mask`, `batch_index` and keys of other nodes, which are kept."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from latentflow import InputError

Latent = dict[str, Any]
BATCHED = (4, 5)  # dimensions: pictures, videos


def samples_of(latent: Latent, name: str) -> Tensor:
    """The samples of a LATENT of pictures or videos as floats; raises `InputError` for any other."""
    samples = latent["samples"]
    if getattr(samples, "is_nested", False) or samples.ndim not in BATCHED:
        raise InputError(f"`{name}` isn't a latent of pictures or of a video.", "Connect one of these.")
    return samples if samples.is_floating_point() else samples.float()


def pair_of(one: Latent, two: Latent, names: tuple[str, str]) -> tuple[Tensor, Tensor]:
    """The samples of two LATENTs as batches of one length, type and device: the shorter batch is repeated. Raises
    `InputError` for different shapes."""
    first, second = samples_of(one, names[0]), samples_of(two, names[1])
    if first.shape[1:] != second.shape[1:]:
        raise InputError(
            f"`{names[0]}` has the shape {tuple(first.shape)}, but `{names[1]}` has {tuple(second.shape)}.",
            "Encode both with one VAE, from pictures of one size.",
        )
    count = max(len(first), len(second))
    kind = torch.promote_types(first.dtype, second.dtype)
    first, second = (each[around(count, len(each))].to(first.device, kind) for each in (first, second))
    return first, second


def around(count: int, length: int) -> list[int]:
    """The indices 0 … length − 1, repeated up to a count."""
    return [index % length for index in range(count)]


def with_samples(latent: Latent, samples: Tensor, rows: Sequence[int]) -> Latent:
    """A copy of a LATENT with other samples, made from these `rows` of its batch. Its mask and the numbers of its noise
    follow the rows, and all other keys stay."""
    made = latent | {"samples": samples}
    if list(rows) == list(range(len(latent["samples"]))):
        return made
    mask, index = latent.get("noise_mask"), latent.get("batch_index")
    if mask is not None and len(mask) > 1:
        made["noise_mask"] = mask[[row % len(mask) for row in rows]]
    if index is not None:
        made["batch_index"] = [index[row] for row in rows]
    return made
