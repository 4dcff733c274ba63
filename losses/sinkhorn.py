"""Sinkhorn divergence of pictures as clouds of points."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentflow.losses._base import Load, Loss
from latentflow.losses._registry import register

LARGEST_SIDE = 64  # beyond some thousand points geomloss wants a compiler


@register(
    "sinkhorn",
    requires=("geomloss",),
    options={"points": 24, "blur": 0.05, "position": 1.0},
    reference="Feydy et al. 2019, arXiv:1810.08278; geomloss",
)
class Sinkhorn(Loss):
    """Debiased Sinkhorn divergence, p = 2, cost ½‖x − y‖², of pooled pictures as points in position × colour.

    `points` × `points` of them at most (24; up to 64), each of mean colour in [0, 1]³ at a place in [0, 1]², the longer
    side being 1; `blur` is the entropic scale (0.05), `position` the weight of the place (1): with 0 only the colours
    count, wherever they are. Colours flow from where they are to where they are wanted.
    """

    def __init__(self, load: Load | None = None, **options: Any) -> None:
        from geomloss import SamplesLoss

        super().__init__(load, **options)
        self.side, self.position = self.options["points"], self.options["position"]
        blur = self.options["blur"]
        if self.side != int(self.side) or not 1 <= self.side <= LARGEST_SIDE:
            raise ValueError(f"points is a whole number from 1 to {LARGEST_SIDE}, not {self.side:g}")
        if not 1e-3 <= blur <= 10 or not 0 <= self.position <= 100:
            raise ValueError("blur is from 0.001 to 10 and position from 0 to 100")
        diameter = math.sqrt(3 + 2 * self.position**2)  # of all clouds: else it is measured, and couples a batch
        self.divergence = SamplesLoss("sinkhorn", p=2, blur=blur, debias=True, backend="tensorized", diameter=diameter)

    def cloud(self, image: Tensor) -> Tensor:
        """The points (n, count, 5) of a picture: place, then colour."""
        height, width = image.shape[-2:]
        share = int(self.side) / max(height, width)
        rows, columns = (min(side, max(1, round(side * share))) for side in (height, width))
        colors = F.adaptive_avg_pool2d(image, (rows, columns)).flatten(2).transpose(1, 2)
        longer = max(rows, columns)
        y = (torch.arange(rows, device=image.device, dtype=image.dtype) + 0.5) / longer
        x = (torch.arange(columns, device=image.device, dtype=image.dtype) + 0.5) / longer
        places = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(1, -1, 2) * self.position
        return torch.cat([places.expand(len(image), -1, -1), colors], -1)

    def prepare(self, target: Tensor) -> Tensor:
        return self.cloud(target)

    def forward(self, image: Tensor, prepared: Tensor) -> Tensor:
        values: Tensor = self.divergence(self.cloud(image), prepared.contiguous())
        return values
