"""How near a picture comes to its target, in the figures people know."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from latentflow import losses


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """PSNR in dB, (n,), of (n, 3, h, w) pictures for peak 1, the image clamped to [0, 1]; infinite at equality."""
    mse = (image.clamp(0, 1) - target).square().mean(dim=(1, 2, 3))
    return -10 * mse.log10()


@torch.no_grad()
def image_metrics(image: Tensor, target: Tensor, load: Callable[[str], Any] | None = None) -> dict[str, float]:
    """PSNR (dB), SSIM and LPIPS of the first image of (n, 3, h, w) against its target, the image clamped.

    LPIPS is left out without `load`, and so is every figure whose window is larger than the picture; the key of LPIPS
    says which network it was measured with.
    """
    image = image.clamp(0, 1)
    figures = {"psnr": float(psnr(image, target)[0])}
    smallest = min(image.shape[-2:])
    ssim = losses.find("ssim")
    if smallest >= ssim.declaration.min_size:  # type: ignore[attr-defined]
        figures["ssim"] = 1 - float(ssim()(image, target)[0])
    lpips = losses.find("lpips")
    if load and smallest >= lpips.declaration.min_size:  # type: ignore[attr-defined]
        measure = lpips(load)
        figures[measure.label] = float(measure(image, target)[0])
    return figures
