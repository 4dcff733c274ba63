"""Pipelines of diffusers that encode faithfully: their autoencoder's `encode` returns refined latents for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.models.refinement import AUTO, refine_latent

_active: WeakKeyDictionary[Any, list[_Refining]] = WeakKeyDictionary()
_CHANGING = threading.Lock()


class _Refining:
    """One use of `faithful`: the number of steps."""

    def __init__(self, steps: int | str) -> None:
        self.steps = steps


@contextmanager
def faithful(pipeline: Any, refine: int | str = 3) -> Iterator[Any]:
    """Make a pipeline of diffusers, or an autoencoder of one, encode pictures faithfully inside a `with` block.

    The latents of img2img, inpainting and edit pipelines are refined in `refine` gradient-free steps, or with "auto"
    until a step brings little, so that the decoder's picture of them comes as near as it can; see `refine_latent`. What
    they draw from the encoder's distribution is the refined latent itself: its noise would undo a part of that. 5-D
    latents of video autoencoders are refined as well. After the block, also after an error, the autoencoder is as
    before. Blocks may be nested and may share an autoencoder: the innermost one counts.

    Gives the pipeline. Raises `InputError` for anything without an autoencoder, and for another `refine`.
    """
    vae = getattr(pipeline, "vae", pipeline)
    if not callable(getattr(vae, "encode", None)) or not callable(getattr(vae, "decode", None)):
        raise InputError(
            f"faithful takes a pipeline of diffusers with a `vae`, or an autoencoder, not {type(pipeline).__name__}."
        )
    if refine != AUTO and not (isinstance(refine, int) and refine >= 0):
        raise InputError(f'`refine` is a number of steps from 0 or "auto", not {refine!r}.')
    own = _Refining(refine)
    with _CHANGING:
        stack = _active.setdefault(vae, [])
        stack.append(own)
        if len(stack) == 1:
            vae.encode = _refining(vae, vae.encode, stack)
    try:
        yield pipeline
    finally:
        with _CHANGING:
            stack.remove(own)
            if not stack:
                del vae.encode  # the class's own is found again
                del _active[vae]


def _refining(vae: Any, encode: Callable[..., Any], stack: list[_Refining]) -> Callable[..., Any]:
    """The function that takes the place of an autoencoder's `encode`."""

    def of(picture: Tensor) -> Tensor:
        latent = _latent(encode((picture * 2 - 1).to(vae.dtype))).float()
        return latent / _spread(vae, latent)

    def shown(latent: Tensor, like: Tensor) -> Tensor:
        decoded = vae.decode((latent * _spread(vae, latent)).to(vae.dtype)).sample
        return decoded[..., : like.shape[-2], : like.shape[-1]].float() / 2 + 0.5

    def refining(x: Tensor, *given: Any, return_dict: bool = True, **options: Any) -> Any:
        steps = stack[-1].steps
        output = encode(x, *given, return_dict=True, **options)
        if steps != 0:
            picture = x.float() / 2 + 0.5
            found = refine_latent(picture, of, lambda latent: shown(latent, picture), steps)
            latent = found.latent * _spread(vae, found.latent)
            output = _with_latent(output, latent.to(_latent(output).dtype))
        return output if return_dict else (output[0],)

    return refining


def _spread(vae: Any, latent: Tensor) -> Tensor | float:
    """The standard deviations of the channels where the config has them: residuals count in units of them, as they do
    in `Autoencoder.encode`."""
    import torch

    spread = getattr(vae.config, "latents_std", None)
    if spread is None or len(spread) != latent.shape[1]:
        return 1.0
    return torch.tensor(spread, dtype=latent.dtype, device=latent.device).view(1, -1, *[1] * (latent.ndim - 2))


def _latent(output: Any) -> Tensor:
    """The latent that an encoder returned: the mode of its distribution, where it has one."""
    distribution = getattr(output, "latent_dist", None)
    latent: Tensor = output[0] if distribution is None else distribution.mode()
    return latent


def _with_latent(output: Any, latent: Tensor) -> Any:
    """An encoder's output with another latent; of a distribution nothing but the latent can be drawn."""
    name = next(iter(output.keys()))
    if name != "latent_dist":
        return type(output)(**{name: latent})
    import torch
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    parameters = torch.cat([latent, torch.zeros_like(latent)], dim=1)
    return type(output)(latent_dist=DiagonalGaussianDistribution(parameters, deterministic=True))
