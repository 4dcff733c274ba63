"""Structural similarity, as something to minimize."""

import torch
from torch import Tensor

from latentflow.losses._base import Loss
from latentflow.losses._registry import register


@register("ssim", min_size=11, requires=("pytorch_msssim",), reference="Wang et al. 2004, doi:10.1109/TIP.2003.819861")
class SSIM(Loss):
    """1 − SSIM, with pytorch-msssim's 11-pixel Gaussian window, data range 1."""

    def forward(self, image: Tensor, prepared: Tensor) -> Tensor:
        from pytorch_msssim import ssim

        with torch.autocast(image.device.type, enabled=False):  # variances are small differences of large sums
            return 1 - ssim(image, prepared, data_range=1.0, size_average=False)
