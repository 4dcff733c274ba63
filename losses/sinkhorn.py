"""Sinkhorn divergence of images as point clouds."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentflow.base.errors import InputError, MissingPackageError
from latentflow.losses._base import Load, Loss
from latentflow.losses._registry import register

MAX_SIDE = 64  # beyond about 5000 points geomloss needs KeOps and a compiler


@register(
    "sinkhorn",
    requires=("geomloss",),
    mask="each point has the mean gray of its pixels as its mass, and their weighted mean as its color",
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
        super().__init__(load, **options)
        self.side, self.position = self.options["points"], self.options["position"]
        blur = self.options["blur"]
        if self.side != int(self.side) or not 1 <= self.side <= MAX_SIDE:
            raise InputError(f"The points of sinkhorn are an integer from 1 to {MAX_SIDE}, not {self.side:g}.")
        if not 1e-3 <= blur <= 10 or not 0 <= self.position <= 100:
            raise InputError("The blur of sinkhorn must be from 0.001 to 10, its position from 0 to 100.")
        try:
            from geomloss import SamplesLoss
        except ImportError as error:
            raise MissingPackageError(f"sinkhorn needs a package: {error}.", "pip install geomloss") from error
        diameter = math.sqrt(3 + 2 * self.position**2)  # fixed: geomloss would measure it over the batch
        self.divergence = SamplesLoss("sinkhorn", p=2, blur=blur, debias=True, backend="tensorized", diameter=diameter)

    def cloud(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """The points (n, count, 5) of images (n, 3, h, w): position, then color; with a `mask` (n, 1, h, w) a color is
        the weighted mean, and that of a point without mass is 0."""
        rows, columns = self._grid(image)
        colors = self._pooled(image)
        if mask is not None:
            masses = self._pooled(mask)
            colors = self._pooled(image * mask) / torch.where(masses > 0, masses, torch.ones_like(masses))
        longer = max(rows, columns)
        y = (torch.arange(rows, device=image.device, dtype=image.dtype) + 0.5) / longer
        x = (torch.arange(columns, device=image.device, dtype=image.dtype) + 0.5) / longer
        positions = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(1, -1, 2) * self.position
        return torch.cat([positions.expand(len(image), -1, -1), colors], -1)

    def _grid(self, image: Tensor) -> tuple[int, int]:
        """Rows and columns of an image's points."""
        height, width = image.shape[-2:]
        scale = int(self.side) / max(height, width)
        rows, columns = (min(side, max(1, round(side * scale))) for side in (height, width))
        return rows, columns

    def _pooled(self, values: Tensor) -> Tensor:
        """The means of values (n, c, h, w) at the points, (n, count, c)."""
        return F.adaptive_avg_pool2d(values, self._grid(values)).flatten(2).transpose(1, 2)

    def forward(self, image: Tensor, prepared: Tensor, mask: Tensor | None = None) -> Tensor:
        clouds = self.cloud(image, mask), self.cloud(prepared, mask).contiguous()
        if mask is None:
            return self.divergence(*clouds)  # type: ignore[no-any-return]
        masses = self._pooled(mask)[..., 0]
        masses = masses / masses.sum(dim=1, keepdim=True)
        return self.divergence(masses, clouds[0], masses, clouds[1])  # type: ignore[no-any-return]
