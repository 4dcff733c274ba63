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
    """1 − MS-SSIM over five scales, with an 11-pixel Gaussian window and data range 1 (pytorch-msssim).

    A channel in which some scale is correlated negatively with the target counts as 0 and has no gradient.
    """

    def forward(self, image: Tensor, prepared: Tensor) -> Tensor:
        from pytorch_msssim import ms_ssim

        if image.requires_grad:
            image = image.view_as(image)  # so that the hook is on this use of the picture alone
            # A channel whose contrast term is negative at some scale has an MS-SSIM of 0 and no slope; the power's
            # derivative at 0 is infinite, and times 0 it is NaN.
            image.register_hook(lambda gradient: gradient.nan_to_num(0.0))
        with torch.autocast(image.device.type, enabled=False):  # bf16 rounds small differences of large sums away
            return 1 - ms_ssim(image, prepared, data_range=1.0, size_average=False)
