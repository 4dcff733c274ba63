"""What a perceptual loss wants of a network, whoever made it."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Features(Protocol):
    """A frozen network that shows its stages.

    `label` names it in everything shown ("lpips", "lpips[bundled]"); `heads` holds one weight a channel, (c,), for
    each stage, or is None for equal weights.
    """

    label: str
    heads: Sequence[Tensor] | None

    def stages(self, image: Tensor) -> list[Tensor]:
        """Activations (n, c, h, w) from shallow to deep of a picture (n, 3, h, w) in [-1, 1]."""
        ...


def unit_length(activations: Tensor, epsilon: float = 1e-10) -> Tensor:
    """Activations (n, c, h, w) scaled to length 1 over the channels; the epsilon is inside the root, so that the
    gradient at zero activations (flat pictures) is finite."""
    return activations / (activations.square().sum(dim=1, keepdim=True) + epsilon).sqrt()
