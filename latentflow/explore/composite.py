"""`composite`: the latent whose picture is made of several pictures under masks.

Latents that are interpolated under a reduced mask decode to something else than the pictures mixed by the mask: the
decoder is not linear, and a cell is as large as eight pixels or more. So the pictures are mixed first, each pixel by
the mask at full resolution, and that mixture is the target. Cells that no edge of a mask touches keep every bit of
their layer. The others, the band, begin at the encoder's latent of the mixture and are refined: first without gradients
(`models.refinement`), then along the gradient of the mean square error. There the pixels of the band have weight 1, and
those around it, which its cells reach through the decoder, `AROUND`; without that weight the band gets better at the
cost of its surroundings. docs/round-trips.md has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from latentflow.base.errors import InputError
from latentflow.base.files import check_writable, write_file
from latentflow.base.pixels import to_png, to_uint8
from latentflow.base.session import Session
from latentflow.base.surroundings import undisturbed
from latentflow.explore.config import CompositeConfig, RefineOptions
from latentflow.inversion.methods import choose
from latentflow.latents.files import save_latent
from latentflow.latents.sources import AnchorLike, Anchors, check_anchors, read_anchors
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.files import check_image, cover, resize, to_tensor
from latentflow.pictures.reader import Reader
from latentflow.runs.job import Files, Job, Report, Stages, run_job

SUFFIXES = (".png", ".safetensors")
AROUND = 0.25  # weight of the pixels that cells of the band reach, beside 1 in the band
REACH = 1  # cells beside an edge that may move, and beside these, that they reach
RATE = 0.04
BETAS = (0.9, 0.99)
HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """A composite: its `latent` (1, c, rows, columns) and `picture` (1, 3, h, w), nominally in [0, 1], the number of
    its cells that were `moved`, and, in the band, the RMS differences from the mixed pictures in gray levels: its own
    `error`, and for comparison those of `interpolated` latents and of the mixture that is only `encoded`. They are None
    where no mask has an edge."""

    latent: Tensor
    picture: Tensor
    moved: int
    error: float | None = None
    interpolated: float | None = None
    encoded: float | None = None


@dataclass(frozen=True, slots=True)
class _Band:
    """The cells that may move, (1, 1, rows, columns), and the weights of pixels, (1, 1, h, w), in the figures and in
    the objective."""

    cells: Tensor
    pixels: Tensor
    objective: Tensor


@undisturbed
def make_composite(
    autoencoder: Autoencoder,
    latents: Tensor,
    masks: Tensor,
    refine: RefineOptions,
    session: Session | None = None,
) -> Composite:
    """Put latents (n, c, rows, columns) over each other, the first on top, under masks (n − 1, 1, h, w) in [0, 1]: a
    layer shows where its mask is white, and what is below it where that is black.

    Raises `Interrupted` when the session is stopped, and `InputError` for masks of a different number or size.
    """
    session, size = session or Session(), (masks.shape[-2], masks.shape[-1])
    if len(masks) != len(latents) - 1 or autoencoder.geometry.latent_shape(*size) != tuple(latents.shape[1:]):
        raise InputError(
            f"{len(latents)} layers take {len(latents) - 1} masks of their pictures' size, not {tuple(masks.shape)}."
        )
    with torch.no_grad():
        pictures = torch.cat([autoencoder.decode(each, size).clamp(0, 1) for each in latents.split(1)])
        mixture, fixed, interpolated = pictures[-1:], latents[-1:], latents[-1:]
        for layer in reversed(range(len(masks))):
            mask = masks[layer : layer + 1]
            share = avg_pool2d(mask, autoencoder.stride, ceil_mode=True)
            mixture = mask * pictures[layer : layer + 1] + (1 - mask) * mixture
            fixed = torch.where(share > HALF, latents[layer : layer + 1], fixed)
            interpolated = share * latents[layer : layer + 1] + (1 - share) * interpolated
        band = _band(masks, autoencoder.stride)
        if not band.cells.any():
            return Composite(latent=fixed, picture=autoencoder.decode(fixed, size), moved=0)
        encoded = autoencoder.encode(mixture)
    start = torch.where(band.cells > 0, encoded, fixed)
    latent = _refined(autoencoder, start, mixture, band, refine, session)
    with torch.no_grad():
        shown = [autoencoder.decode(each, size) for each in (latent, interpolated, encoded)]
    error, of_interpolated, of_encoded = (_error(each, mixture, band.pixels) for each in shown)
    return Composite(
        latent=latent,
        picture=shown[0],
        moved=int(band.cells.sum()),
        error=error,
        interpolated=of_interpolated,
        encoded=of_encoded,
    )


def _band(masks: Tensor, stride: int) -> _Band:
    """The band: pixels that are mixed, and those beside a hard edge; cells that hold some of them, and their neighbors.
    What an opaque layer above covers has no edge that is seen."""
    pixels = torch.zeros_like(masks[:1])
    for mask in reversed(masks.split(1)):
        changes = max_pool2d(mask, 3, 1, 1) + max_pool2d(-mask, 3, 1, 1)  # from pixel to pixel
        is_mixed = (changes > 0) | ((mask > 0) & (mask < 1))
        pixels = torch.where(mask == 1, 0.0, pixels).maximum(is_mixed.float())
    size = (masks.shape[-2], masks.shape[-1])
    cells = _grown(max_pool2d(pixels, stride, ceil_mode=True), REACH)
    reached = interpolate(_grown(cells, REACH), scale_factor=stride)[..., : size[0], : size[1]]
    return _Band(cells, pixels, torch.maximum(pixels, AROUND * reached))


def _grown(cells: Tensor, by: int) -> Tensor:
    return max_pool2d(cells, 2 * by + 1, 1, by)


def _refined(
    autoencoder: Autoencoder, start: Tensor, mixture: Tensor, band: _Band, refine: RefineOptions, session: Session
) -> Tensor:
    """The latent refined in the cells of the band: without gradients, then along the gradient, where the least
    objective counts."""
    steps, updates = refine.steps
    size = (mixture.shape[-2], mixture.shape[-1])
    found = autoencoder.refined(
        mixture, steps, lambda step: session.check(), start=start, cells=band.cells, weights=band.objective
    )
    best, least = found.latent, float("inf")
    latent = best.clone()
    choice = choose("gradient", None, RATE, updates, BETAS)
    moving = choice.updates(latent)
    for index in range(updates + 1 if updates else 0):
        session.check()
        with torch.enable_grad():
            leaf = latent.detach().requires_grad_(True)
            squares = (autoencoder.decode(leaf, size) - mixture).square() * band.objective
            loss = squares.sum() / (3 * band.objective.sum())
            (gradient,) = torch.autograd.grad(loss, leaf)
        if float(loss.detach()) < least:
            best, least = latent.clone(), float(loss.detach())
        if index < updates:
            moving.move(gradient * band.cells, RATE)
    return best


def _error(shown: Tensor, mixture: Tensor, weights: Tensor) -> float:
    """The RMS difference in gray levels: 255 · √(Σ m·d² / Σ m) over pixels and colors."""
    squares = (shown.clamp(0, 1) - mixture).square() * weights
    return 255 * float(squares.sum() / (3 * weights.sum())) ** 0.5


def read_masks(paths: Sequence[Any], size: tuple[int, int], mode: str, reader: Reader) -> Tensor:
    """Masks (n, 1, h, w) in [0, 1] for pictures of `size` (height, width), by their gray values, transparent parts
    black; they are cut or distorted as `fit` does in this `mode`. Raises `InputError` for a file that isn't an image,
    and in the mode "contain" for one of a different aspect ratio."""
    height, width = size
    read = []
    for path in paths:
        mask = path if isinstance(path, Image.Image) else reader.read(Path(path).expanduser(), "`mask`", "black")
        if mode == "contain" and abs(mask.width * height - mask.height * width) > max(*size, *mask.size) * 2:
            raise InputError(
                f"`mask` {path} is {mask.width} × {mask.height}, but the pictures are {width} × {height}: they need "
                "one aspect ratio.",
                "Draw the mask on a copy of the first image.",
            )
        change = cover if mode == "cover" else resize
        read.append(to_tensor(change(mask.convert("L"), width, height, sharp=False))[:, :1])
    return torch.cat(read)


def composite_of(
    sources: Sequence[AnchorLike], masks: Sequence[Any], config: CompositeConfig, vae: Any, session: Session
) -> Composite:
    """The composite of sources that a caller has, with masks as paths or PIL pictures."""
    _check_count(sources, masks)
    loaded = session.load(vae, config.weights, config.device, config.dtype, config.vae_config)
    reader = Reader(config, session.say)
    return _composed(sources, masks, config, loaded.autoencoder, reader, session)[0]


def _composed(
    sources: Sequence[AnchorLike],
    masks: Sequence[Any],
    config: CompositeConfig,
    autoencoder: Autoencoder,
    reader: Reader,
    session: Session,
) -> tuple[Composite, Anchors]:
    anchors = read_anchors(sources, autoencoder, config.size, config.fit, reader, latent_of=config.latent_of)
    read = read_masks(masks, anchors.size, config.fit, reader).to(autoencoder.device)
    layers = [
        latent if target is None else autoencoder.encode(target, refine=config.steps[0])
        for latent, target in zip(anchors.latents.split(1), anchors.targets)
    ]
    return make_composite(autoencoder, torch.cat(layers), read, config, session), anchors


def _check_count(sources: Sequence[Any], masks: Sequence[Any]) -> None:
    if len(masks) != len(sources) - 1:
        raise InputError(
            f"`mask`: {len(sources)} layers take {len(sources) - 1} of them, not {len(masks)}.",
            "Give one for each layer but the last, separated by commas.",
        )


def run_composite(sources: Sequence[str], config: CompositeConfig, session: Session) -> Report:
    """Put pictures over each other under masks, the first on top; raises `LatentflowError` as its parts do."""
    return run_job(Stages(check=_check, make=_make), sources, config, session)


def _check(sources: Sequence[str], config: CompositeConfig) -> Files:
    check_anchors(sources, 2, latent_of=config.latent_of, max_pixels=config.max_pixels)
    masks = config.mask or ()
    _check_count(sources, masks)
    for mask in masks:
        check_image(Path(mask).expanduser(), "`mask`", config.max_pixels)
    output = Path(config.output_path).expanduser()
    if output.suffix.lower() not in SUFFIXES:
        raise InputError(f"`output_path` {output}: a composite is a picture, .png, or a latent, .safetensors.")
    check_writable(output, "`output_path`")
    return Files(outputs=[output], inputs=[*sources, *masks], shown={"layers": list(sources), "masks": list(masks)})


def _make(job: Job[CompositeConfig]) -> None:
    made, anchors = _composed(job.sources, job.config.mask or (), job.config, job.autoencoder, job.reader, job.session)
    if job.output.suffix.lower() == ".png":
        write_file(job.output, to_png(to_uint8(made.picture)), "`output_path`")
    else:
        save_latent(job.output, made.latent, job.autoencoder, anchors.size, label="`output_path`")
    cells = made.latent.shape[-2] * made.latent.shape[-1]
    errors = {"error": made.error, "interpolated": made.interpolated, "encoded": made.encoded}
    job.report.figures |= {"cells": cells, "moved": made.moved, **errors}
    job.report.lines = [f"cells    {made.moved} of {cells} moved"]
    if made.error is not None:
        job.report.lines.append(
            f"band     {made.error:.1f} gray levels off (RMS); interpolated latents are {made.interpolated:.1f} off, "
            f"the encoded picture {made.encoded:.1f}"
        )
