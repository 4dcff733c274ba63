"""TAEF2, the tiny autoencoder of FLUX.2's latents: TAESD with a normalized branch in the blocks next to the latent.

After madebyollin/taesd; diffusers' AutoencoderTiny has no such blocks.
"""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

GROUPS = 4  # of the normalization


class NormalizedTinyBlock(nn.Module):
    """A block of AutoencoderTiny after a branch of 1 × 1 convolutions, which is normalized over the entire picture."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.conv, self.skip, self.fuse = block.conv, block.skip, block.fuse
        width = block.conv[0].in_channels
        self.pool = nn.Sequential(
            nn.Conv2d(width, 4 * width, 1, bias=False),
            nn.GroupNorm(GROUPS, 4 * width),
            nn.ReLU(),
            nn.Conv2d(4 * width, width, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The features (n, c, rows, columns) of the same shape."""
        x = x + self.pool(x)
        return self.fuse(self.conv(x) + self.skip(x))  # type: ignore[no-any-return]


def add_normalized_blocks(model: Any, names: Iterable[str]) -> None:
    """Replace the blocks of an AutoencoderTiny that have a branch, by the `names` of its tensors."""
    for half, _, place, *_ in (name.split(".") for name in names if name.endswith(".pool.0.weight")):
        layers = getattr(model, half).layers
        layers[int(place)] = NormalizedTinyBlock(layers[int(place)])
