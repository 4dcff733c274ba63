"""The networks of perceptual losses."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d


class Features(Protocol):
    """A frozen network; its activations are compared.

    `label` names it wherever it is shown ("lpips", "lpips[bundled]"); `heads` holds one weight per channel, (c,), for
    each stage, or is None for equal weights.
    """

    label: str
    heads: Sequence[Tensor] | None

    def stages(self, image: Tensor) -> list[Tensor]:
        """Activations (n, c, h, w), from the first stage to the last, of images (n, 3, h, w) in [-1, 1]."""
        ...


def unit_length(activations: Tensor, epsilon: float = 1e-10) -> Tensor:
    """Activations (n, c, h, w) scaled to length 1 over the channels.

    `epsilon` is inside the root, so that the gradient at zero activations (flat images) is finite.
    """
    return activations / (activations.square().sum(dim=1, keepdim=True) + epsilon).sqrt()


def pooled(mask: Tensor | None, activations: Tensor) -> Tensor | None:
    """A mask (n, 1, h, w) at the resolution of activations: the mean gray of the pixels of each position."""
    return None if mask is None else adaptive_avg_pool2d(mask, (activations.shape[-2], activations.shape[-1]))
