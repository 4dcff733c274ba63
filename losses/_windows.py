"""The means over windows that SSIM and MS-SSIM compare.

Under a mask every mean within a window is weighted: Σ g·m·x / Σ g·m for a Gaussian window g and a mask m, and a window
counts by Σ g·m. So pixels outside of the mask have no part in any window. To paint the target into them instead would
flatter: a window at the edge of the mask would compare the target with itself.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

C1, C2 = 0.01**2, 0.03**2


def compared(one: Tensor, two: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
    """SSIM's comparison of luminances, and that of contrasts and structures, (n, c, h − 10, w − 10) each, and the
    weights of the windows, (n, 1, h − 10, w − 10) or None."""
    weights = None if mask is None else blurred(mask)

    def mean(values: Tensor) -> Tensor:
        if mask is None or weights is None:
            return blurred(values)
        return blurred(values * mask) / torch.where(weights > 0, weights, torch.ones_like(weights))

    mean_one, mean_two = mean(one), mean(two)
    variances = mean(one * one) - mean_one**2 + mean(two * two) - mean_two**2
    covariance = mean(one * two) - mean_one * mean_two
    luminance = (2 * mean_one * mean_two + C1) / (mean_one**2 + mean_two**2 + C1)
    return luminance, (2 * covariance + C2) / (variances + C2), weights


def blurred(values: Tensor) -> Tensor:
    """Weighted means of values (n, c, h, w) over windows of 11 × 11 pixels, a Gaussian of σ = 1.5:
    (n, c, h − 10, w − 10)."""
    window = torch.tensor([math.exp(-((place - 5) ** 2) / (2 * 1.5**2)) for place in range(11)], dtype=values.dtype)
    window = window.to(values)
    channels = values.shape[1]
    rows = (window / window.sum()).expand(channels, 1, 1, 11)
    return F.conv2d(F.conv2d(values, rows, groups=channels), rows.mT, groups=channels)


def half(values: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Values and mask at half the size. At an odd side a row of zeros comes before the first, as in pytorch-msssim; the
    mask's first row is repeated there, so that a mask of one gray changes nothing."""
    odd = [side % 2 for side in values.shape[-2:]]
    if mask is None:
        return F.avg_pool2d(values, 2, padding=odd), None
    padding = (odd[1], 0, odd[0], 0)
    repeated = F.pad(mask, padding, mode="replicate")
    smaller = F.avg_pool2d(repeated, 2)
    total = torch.where(smaller > 0, smaller, torch.ones_like(smaller))
    return F.avg_pool2d(F.pad(values, padding) * repeated, 2) / total, smaller
