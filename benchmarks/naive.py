"""The loop this program is compared with: the way such a script is usually written, and no worse."""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor


def naive(
    vae: Any, target: Tensor, z: Tensor, steps: int, lr: float, after: Callable[[int, Tensor], bool]
) -> list[Image.Image]:
    """Adam on the latent `z`, in the model's own units, towards `target`, (1, 3, h, w) in [-1, 1].

    The model is in eval mode but not frozen, and computes in fp32. `after(step, picture)` ends the loop when it is
    true; the pictures are what a GIF is saved of.
    """
    z = z.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=lr)
    frames = []
    for step in range(steps):
        optimizer.zero_grad()
        picture = vae.decode(z).sample
        loss = torch.nn.functional.mse_loss(picture, target)
        loss.backward()
        optimizer.step()
        shown = (picture.detach().clamp(-1, 1) + 1) * 127.5
        frames.append(Image.fromarray(shown[0].permute(1, 2, 0).round().byte().cpu().numpy()))
        if after(step, picture.detach()):
            break
    return frames
