"""Multi-scale structural similarity as a loss."""

import torch
from torch import Tensor

from latentflow.losses._base import Loss
from latentflow.losses._registry import register


@register(
    "ms_ssim",
    min_size=161,
    requires=("pytorch_msssim",),
    reference="Wang, Simoncelli & Bovik 2003, doi:10.1109/ACSSC.2003.1292216",
)
class MSSSIM(Loss):
    """1 − MS-SSIM over five scales, with an 11-pixel Gaussian window and data range 1 (pytorch-msssim)."""

    def forward(self, image: Tensor, prepared: Tensor) -> Tensor:
        from pytorch_msssim import ms_ssim

        with torch.autocast(image.device.type, enabled=False):  # bf16 rounds small differences of large sums away
            return 1 - ms_ssim(image, prepared, data_range=1.0, size_average=False)
