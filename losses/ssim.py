"""Structural similarity as a loss."""

import torch
from torch import Tensor

from latentflow.losses._base import Loss, weighted_mean
from latentflow.losses._registry import register
from latentflow.losses._windows import compared


@register(
    "ssim",
    min_size=11,
    requires=("pytorch_msssim",),
    mask="mean over windows, each weighted by its mean gray, and within it each pixel by its own",
    reference="Wang et al. 2004, doi:10.1109/TIP.2003.819861",
)
class SSIM(Loss):
    """1 − SSIM with an 11-pixel Gaussian window and data range 1 (pytorch-msssim)."""

    def forward(self, image: Tensor, prepared: Tensor, mask: Tensor | None = None) -> Tensor:
        from pytorch_msssim import ssim

        with torch.autocast(image.device.type, enabled=False):  # bf16 rounds small differences of large sums away
            if mask is None:
                return 1 - ssim(image, prepared, data_range=1.0, size_average=False)
            luminance, structure, weights = compared(image, prepared, mask)
            return 1 - weighted_mean(luminance * structure, weights)
