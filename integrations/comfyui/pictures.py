"""A VAE of ComfyUI as two functions of pictures, and masks at the size of its pictures and of its cells.

ComfyUI's pictures are (n, h, w, 3), and those of a video VAE's latents (n, frames, h, w, 3). Here the channels are
second, as in latentflow: (n, 3, h, w) or (n, 3, frames, h, w). A VAE crops what it encodes to complete cells, around
the center.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

REACH = 1  # cells beside an edge of a mask that may move, and beside these, that they reach through the decoder
LEVELS = 2**16  # of a mask
AROUND = 0.25  # weight of the pixels that cells of the band reach, beside 1 in the band


class Pictures:
    """The functions `encode` and `decode` of a VAE. They run in the inference mode of their maker's caller: ComfyUI
    moves weights between devices while it encodes, and these can't change outside the mode they were made in."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self._is_inference = torch.is_inference_mode_enabled()
        self._size: tuple[int, int] | None = None

    def _mode(self) -> AbstractContextManager[None]:
        return torch.inference_mode() if self._is_inference else nullcontext()

    def encode(self, picture: Tensor) -> Tensor:
        """The latents of pictures; those of a video VAE are encoded one by one, since it takes a batch for frames."""
        with self._mode():
            if picture.ndim == 4:
                return self._vae.encode(picture.movedim(1, -1)).float()
            return torch.cat([self._vae.encode(each.movedim(0, -1)) for each in picture]).float()

    def decode(self, latent: Tensor) -> Tensor:
        """The pictures of latents, cut to the size of the pictures that `cropped` gave."""
        with self._mode():
            shown: Tensor = self._vae.decode(latent).movedim(-1, 1).float()
        return shown if self._size is None else shown[..., : self._size[0], : self._size[1]]

    def cropped(self, pixels: Tensor, shown: Tensor) -> Tensor:
        """Pixels (n, h, w, 3) as the VAE sees them: cropped like the decoded pictures of their latents, and put into
        frames where these have some."""
        size = [min(pair) for pair in zip(pixels.shape[1:3], shown.shape[-2:])]
        for dim, (length, wanted) in enumerate(zip(pixels.shape[1:3], size), start=1):
            pixels = pixels.narrow(dim, (length - wanted) // 2, wanted)
        self._size = (size[0], size[1])
        picture = pixels.movedim(-1, 1).to(shown)
        if shown.ndim == 4:
            return picture
        if len(shown) == 1:
            return picture.movedim(0, 1)[None, :, : shown.shape[2]]
        return picture[:, :, None]


def known(function: Callable[[Tensor], Tensor], given: Tensor, answer: Tensor) -> Callable[[Tensor], Tensor]:
    """The function, which knows one answer already: passes through the network are what takes time."""

    def answering(values: Tensor) -> Tensor:
        return answer if torch.equal(values, given) else function(values)

    return answering


def mask_of(mask: Tensor, count: int, size: tuple[int, int]) -> Tensor:
    """A MASK, (n, h, w) or (h, w), as (count, 1, height, width) in [0, 1], its batch repeated as ComfyUI does."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).float().clamp(0, 1)
    if tuple(mask.shape[-2:]) != size:
        mask = interpolate(mask, size, mode="bilinear", align_corners=False)
    mask = (mask * LEVELS).round() / LEVELS  # interpolated white isn't exactly 1, and would be an edge everywhere
    return mask[[index % len(mask) for index in range(count)]]


def band_of(mask: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """The band along the edges of masks (n, 1, h, w): cells that may move (n, 1, rows, columns), and weights of pixels
    (n, 1, h, w). It has the cells that hold a pixel that is gray or differs from one beside it, and their neighbors."""
    changes = max_pool2d(mask, 3, 1, 1) + max_pool2d(-mask, 3, 1, 1)  # from pixel to pixel
    pixels = ((changes > 0) | ((mask > 0) & (mask < 1))).float()
    cells = _grown(max_pool2d(pixels, stride, ceil_mode=True))
    reached = interpolate(_grown(cells), scale_factor=stride)[..., : mask.shape[-2], : mask.shape[-1]]
    return cells, torch.maximum(pixels, AROUND * reached)


def _grown(cells: Tensor) -> Tensor:
    return max_pool2d(cells, 2 * REACH + 1, 1, REACH)
