"""Structural similarity as a loss."""

import torch
from torch import Tensor

from latentflow.losses._base import Loss
from latentflow.losses._registry import register


@register("ssim", min_size=11, requires=("pytorch_msssim",), reference="Wang et al. 2004, doi:10.1109/TIP.2003.819861")
class SSIM(Loss):
    """1 − SSIM with an 11-pixel Gaussian window and data range 1 (pytorch-msssim)."""

    def forward(self, image: Tensor, prepared: Tensor) -> Tensor:
        from pytorch_msssim import ssim

        with torch.autocast(image.device.type, enabled=False):  # bf16 rounds small differences of large sums away
            return 1 - ssim(image, prepared, data_range=1.0, size_average=False)
