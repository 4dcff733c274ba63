"""The networks of perceptual losses."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Features(Protocol):
    """A frozen network whose activations are compared.

    `label` names it wherever it is shown ("lpips", "lpips[bundled]"); `heads` holds one weight a channel, (c,), for
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
