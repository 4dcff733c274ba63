"""Sinkhorn divergence of images as point clouds."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentflow.losses._base import Load, Loss
from latentflow.losses._registry import register

MAX_SIDE = 64  # beyond about 5000 points geomloss needs KeOps and a compiler


@register(
    "sinkhorn",
    requires=("geomloss",),
    options={"points": 24, "blur": 0.05, "position": 1.0},
    reference="Feydy et al. 2019, arXiv:1810.08278; geomloss",
)
class Sinkhorn(Loss):
    """Debiased Sinkhorn divergence, cost ½‖x − y‖², of downsampled images as points in position × color.

    An image becomes at most `points` × `points` points (24; at most 64) by average pooling. Each has a position in
    [0, 1]², where the longer side is 1, and a mean color in [0, 1]³. `blur` (0.05) is the entropic scale. `position`
    (1) weights the position; with 0 only the colors count. The gradient moves colors towards where the target has them.
    """

    def __init__(self, load: Load | None = None, **options: Any) -> None:
        from geomloss import SamplesLoss

        super().__init__(load, **options)
        self.side, self.position = self.options["points"], self.options["position"]
        blur = self.options["blur"]
        if self.side != int(self.side) or not 1 <= self.side <= MAX_SIDE:
            raise ValueError(f"points must be an integer from 1 to {MAX_SIDE}, not {self.side:g}")
        if not 1e-3 <= blur <= 10 or not 0 <= self.position <= 100:
            raise ValueError("blur must be from 0.001 to 10 and position from 0 to 100")
        diameter = math.sqrt(3 + 2 * self.position**2)  # fixed: geomloss would measure it over the batch
        self.divergence = SamplesLoss("sinkhorn", p=2, blur=blur, debias=True, backend="tensorized", diameter=diameter)

    def cloud(self, image: Tensor) -> Tensor:
        """The points (n, count, 5) of images (n, 3, h, w): position, then color."""
        height, width = image.shape[-2:]
        scale = int(self.side) / max(height, width)
        rows, columns = (min(side, max(1, round(side * scale))) for side in (height, width))
        colors = F.adaptive_avg_pool2d(image, (rows, columns)).flatten(2).transpose(1, 2)
        longer = max(rows, columns)
        y = (torch.arange(rows, device=image.device, dtype=image.dtype) + 0.5) / longer
        x = (torch.arange(columns, device=image.device, dtype=image.dtype) + 0.5) / longer
        positions = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(1, -1, 2) * self.position
        return torch.cat([positions.expand(len(image), -1, -1), colors], -1)

    def prepare(self, target: Tensor) -> Tensor:
        return self.cloud(target)

    def forward(self, image: Tensor, prepared: Tensor) -> Tensor:
        values: Tensor = self.divergence(self.cloud(image), prepared.contiguous())
        return values
