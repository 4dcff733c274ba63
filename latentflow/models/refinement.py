"""The gradient-free refinement of an encoder's latent: a step is one decode and one encode, without a backward pass.

An encoder is only an approximate inverse of its decoder. The refinement looks for a latent z of the picture x with
E(D(z)) = E(x): then the decoder's picture looks to the encoder like x itself, and the next round trip through the
autoencoder loses next to nothing. A full step, z ← z − (E(D(z)) − E(x)), is the rule of Hong et al., "Gradient-free
Decoder Inversion in Latent Diffusion Models" (2024, arXiv:2409.18442), without momentum. Here the steps are those of
Anderson acceleration of depth 2 (Walker and Ni, "Anderson Acceleration for Fixed-Point Iterations", 2011): of the last
residuals the combination with the least norm is taken, and the latents are combined alike. docs/round-trips.md compares
the rules that were tried.

Three things make it safe on any autoencoder. A step that makes the residual larger is taken back, and half of a plain
step is tried from there. The picture that is decoded for the residual also gives the PSNR, so the best latent is known
at no further cost, and it is what is returned: never one with a lower PSNR than the encoder's. And pictures are clamped
to [0, 1] before they are encoded, because that is what becomes of them between two programs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from latentflow.base.surroundings import undisturbed

AUTO = "auto"
MOST_STEPS = 20  # of auto
MOST_FALLS = 3  # steps of auto in a row that lower the PSNR: the next one is taken back and halved
WORTHWHILE = 0.05  # dB per pass through the network: a step of auto that brings less is the last
PASSES = 2  # of a step: one decode and one encode
DEPTH = 2  # of the acceleration: residuals before the current one
RIDGE = 1e-6  # of the least squares, relative to the trace of their matrix: residuals may be nearly parallel
TINY = 1e-30
AfterStep: TypeAlias = Callable[[int], None]


def ignore_step(step: int) -> None:
    """Do nothing after a step."""


@dataclass(frozen=True, slots=True)
class Refined:
    """Refined latents (n, c, rows, columns), the `psnr` (n) of their pictures in dB, that of the encoder's latents,
    `before` (n), and the number of `steps` that were made."""

    latent: Tensor
    psnr: Tensor
    before: Tensor
    steps: int


@undisturbed
@torch.no_grad()
def refine_latent(
    picture: Tensor,
    encode: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
    steps: int | str = AUTO,
    *,
    after: AfterStep = ignore_step,
    depth: int = DEPTH,
    start: Tensor | None = None,
    cells: Tensor | None = None,
    weights: Tensor | None = None,
) -> Refined:
    """Refine the encoder's latents of pictures (n, 3, h, w) in [0, 1] in `steps` steps; each picture by itself.

    `encode` and `decode` are functions of such pictures and of latents (n, c, rows, columns). With "auto" it stops when
    a step brings no picture 0.1 dB, 0.05 per pass, and after 20 steps at the latest; a step that lowers the PSNR as
    much is tried at half its length before, up to three times. `after` is called after each step
    with its number, and may raise an error to stop. `depth` is the number of residuals before the current one that the
    acceleration takes; 0 makes plain steps. It begins at the latents `start` instead of the encoder's own. Only `cells`
    move, where (n or 1, 1, rows, columns) is 1 and not 0: all others keep every bit of `start`. `weights`
    (n or 1, 1, h, w) are those of pixels in the PSNR.
    """
    goal = encode(picture)
    start = goal if start is None else start
    count, is_auto = (MOST_STEPS, True) if steps == AUTO else (int(steps), False)
    search = _Search(start, depth)
    before = best = _psnr(picture, shown := decode(start).clamp(0, 1), weights)
    kept, going, falls, made = start, torch.ones_like(best, dtype=torch.bool), torch.zeros_like(best), 0
    while made < count and going.any():
        residual = encode(shown) - goal
        latent = search.next(residual if cells is None else residual * cells)
        shown = decode(latent).clamp(0, 1)
        made += 1
        quality = _psnr(picture, shown, weights)
        is_better = going & (quality > best)
        gain = quality - best
        best = torch.where(is_better, quality, best)
        kept = torch.where(_wide(is_better, kept), latent, kept)
        if is_auto:
            falls = torch.where(gain <= -PASSES * WORTHWHILE, falls + 1, torch.zeros_like(falls))
            going &= (gain >= PASSES * WORTHWHILE) | ((falls > 0) & (falls <= MOST_FALLS))
        after(made)
    return Refined(kept, best, before, made)


class _Search:
    """The latents of a refinement: where the next residual is to be taken."""

    def __init__(self, latent: Tensor, depth: int) -> None:
        self.latent = self.tried = latent
        self.depth = depth
        self.residual: Tensor | None = None
        self.rate = torch.ones(len(latent), 1, device=latent.device, dtype=latent.dtype)
        self.ways: list[tuple[Tensor, Tensor]] = []  # from each latent to the next, and from residual to residual

    def next(self, residual: Tensor) -> Tensor:
        """The latents to try next, from the residual of those tried last."""
        if self.residual is None:
            self.residual = residual
        else:
            self._judge(residual)
        flat = self.residual.flatten(1)
        self.tried = (self.latent.flatten(1) - self.rate * flat - self._acceleration(flat)).view_as(self.latent)
        return self.tried

    def _judge(self, residual: Tensor) -> None:
        """Go to the latents tried last, except where their residual is larger, or not finite."""
        assert self.residual is not None
        smaller = _norm(residual) <= _norm(self.residual)
        wide = _wide(smaller, residual)
        latent = torch.where(wide, self.tried, self.latent)
        now = torch.where(wide, residual, self.residual)
        self.rate = torch.where(smaller[:, None], self.rate, self.rate / 2)
        way = ((latent - self.latent).flatten(1), (now - self.residual).flatten(1))
        self.ways = [tuple(torch.where(smaller[:, None], each, 0) for each in pair) for pair in [*self.ways, way]]  # type: ignore[misc]
        self.ways = self.ways[-self.depth :] if self.depth else []
        self.latent, self.residual = latent, now

    def _acceleration(self, residual: Tensor) -> Tensor:
        """What Anderson's step takes off beside the plain step. Where a step was taken back, all ways are 0, and so is
        this."""
        if not self.ways:
            return torch.zeros_like(residual)
        latents, residuals = (torch.stack(each, dim=1) for each in zip(*self.ways))
        products = _on_cpu(residuals @ residuals.mT)  # small, and not every device has double precision
        ridge = RIDGE * products.diagonal(dim1=1, dim2=2).sum(dim=1) + TINY
        products = products + ridge[:, None, None] * torch.eye(len(self.ways))
        weights = torch.linalg.solve(products, _on_cpu(residuals @ residual[:, :, None])).to(residual)
        return ((latents - self.rate[:, :, None] * residuals) * weights).sum(dim=1)


def _psnr(picture: Tensor, shown: Tensor, weights: Tensor | None = None) -> Tensor:
    squares = (picture - shown).square()
    if weights is None:
        error = squares.flatten(1).mean(dim=1)
    else:
        weights = weights.expand_as(squares)
        error = (squares * weights).flatten(1).sum(dim=1) / weights.flatten(1).sum(dim=1)
    return -10 * error.clamp_min(TINY).log10()


def _norm(values: Tensor) -> Tensor:
    return values.flatten(1).norm(dim=1)


def _on_cpu(values: Tensor) -> Tensor:
    return values.cpu().double()


def _wide(chosen: Tensor, like: Tensor) -> Tensor:
    return chosen.view(-1, *[1] * (like.ndim - 1))
