"""How near a picture comes to its target, in the figures people know."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from latentflow import losses
from latentflow.models.autoencoder import Autoencoder


def psnr(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """PSNR in dB, (n,), of (n, 3, h, w) pictures for peak 1, the image clamped to [0, 1]; infinite at equality.

    With a `mask` (n, 1, h, w) in [0, 1] it is that of the pixels within, those in between counting in part.
    """
    mse = (losses.composed(image.clamp(0, 1), target, mask) - target).square().mean(dim=(1, 2, 3))
    return -10 * (mse if mask is None else mse / losses.share_of(mask, target)).log10()


@torch.no_grad()
def image_metrics(
    image: Tensor, target: Tensor, load: Callable[[str], Any] | None = None, mask: Tensor | None = None
) -> dict[str, float]:
    """PSNR (dB), SSIM and LPIPS of the first image of (n, 3, h, w) against its target, the image clamped; with a `mask`
    (n, 1, h, w) in [0, 1] they are those of what is white in it.

    LPIPS is left out without `load`, and so is every figure whose window is larger than the picture; the key of LPIPS
    says which network it was measured with.
    """
    image = image.clamp(0, 1)
    figures = {"psnr": float(psnr(image, target, mask)[0])}
    smallest = min(image.shape[-2:])
    ssim = losses.find("ssim")
    if smallest >= ssim.declaration.min_size:  # type: ignore[attr-defined]
        figures["ssim"] = 1 - float(ssim()(image, target, mask)[0])
    lpips = losses.find("lpips")
    if load and smallest >= lpips.declaration.min_size:  # type: ignore[attr-defined]
        metric = lpips(load)
        figures[metric.label] = float(metric(image, target, mask)[0])
    return figures


@torch.no_grad()
def encoder_metrics(
    autoencoder: Autoencoder,
    target: Tensor,
    load: Callable[[str], Any] | None = None,
    mask: Tensor | None = None,
) -> dict[str, float]:
    """The `image_metrics` of the encoder's own reconstruction of a target (1, 3, h, w), the quality most people
    know."""
    return image_metrics(autoencoder(target), target, load, mask)


def metric_rows(metrics: dict[str, dict[str, float]]) -> tuple[list[str], dict[str, list[str]]]:
    """Metrics of several pictures as text: the headings, and a row for each name; PSNR with two digits, others with
    four."""
    keys = list(next(iter(metrics.values())))
    headings = [{"psnr": "PSNR dB", "ssim": "SSIM"}.get(key, key) for key in keys]
    rows = {name: [f"{values[key]:.{2 if key == 'psnr' else 4}f}" for key in keys] for name, values in metrics.items()}
    return headings, rows
