"""The shape of latents and pictures of an autoencoder, and the statistics of its latents."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from latentflow.models.served import SERVED, picture_channels

PLACES = ("upper left", "upper right", "lower left", "lower right")  # in a cell of 2 × 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentGeometry:
    """The shape and the statistics of a latent space, and the pictures that it is of.

    A latent has `channels` values for each `stride` × `stride` pixels. `scale` and `shift`, (1, c, 1, 1) or
    (1, 1, 1, 1), take the autoencoder's own values to about unit variance: latent = (values − shift) · scale. The model
    takes pictures of `picture_channels` (1: gray, 4: with alpha) in `picture_range`; `side` is the height and width of
    those of a model that takes one size alone. `phases` is the number of neighboring values that were made channels of
    one cell: 4 where a cell is 2 × 2 of them.
    """

    channels: int
    stride: int
    scale: Tensor
    shift: Tensor
    picture_channels: int = 3
    picture_range: tuple[float, float] = (-1.0, 1.0)
    side: int | None = None
    phases: int = 1

    def channel_name(self, number: int) -> str:
        """A channel in words: FLUX.2's are 32 channels in four places of a cell."""
        if self.phases != len(PLACES):
            return f"channel {number}"
        return f"channel {number} ({number // self.phases}, {PLACES[number % self.phases]})"

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(channels, rows, columns) of the latent that covers a picture of height × width pixels."""
        return self.channels, -(-height // self.stride), -(-width // self.stride)


def read_geometry(class_name: str, config: Any, device: torch.device | str = "cpu") -> LatentGeometry:
    """The geometry a diffusers config declares: scalar `scaling_factor` and `shift_factor`, or per-channel
    `latents_mean` and `latents_std` as its pipelines apply them: latent = (values − mean) · scaling_factor / std.

    Raises `ValueError` for figures that are no geometry.
    """
    served = SERVED[class_name]
    channels = int(config[served.channels])

    def values(key: str, default: float) -> Tensor:
        found = config.get(key)
        tensor = torch.tensor(default if found is None else found, dtype=torch.float32, device=device)
        if tensor.numel() > channels and tensor.numel() % channels == 0:  # Cosmos has them for every frame
            tensor = tensor.reshape(channels, -1)[:, 0]
        return tensor.reshape(1, -1, 1, 1)

    shift = values("shift_factor", 0.0) if config.get("latents_mean") is None else values("latents_mean", 0.0)
    scale = values("scaling_factor", 1.0) / values("latents_std", 1.0)
    if not (torch.isfinite(shift).all() and torch.isfinite(scale).all() and (scale != 0).all()):
        raise ValueError("its shift and scale must be finite, and its scale not zero.")
    if {shift.numel(), scale.numel()} - {1, channels}:
        raise ValueError(f"its shift and scale must be one value or {channels}, one a channel.")
    return LatentGeometry(
        channels=channels,
        stride=served.stride(config),
        scale=scale,
        shift=shift,
        picture_channels=picture_channels({**config, "_class_name": class_name}),
    )


def geometry_of(model: Any, device: torch.device | str = "cpu") -> LatentGeometry:
    """The geometry of a loaded model, with what its weights alone tell; raises `ValueError` as `read_geometry` does."""
    inner = getattr(model, "inner", model)
    geometry = read_geometry(type(inner).__name__, inner.config, device)
    told = model.geometry() if hasattr(model, "geometry") else {}
    there: dict[str, Any] = {name: each.to(device) if isinstance(each, Tensor) else each for name, each in told.items()}
    found = replace(geometry, **there)
    if not (torch.isfinite(found.shift).all() and torch.isfinite(found.scale).all() and (found.scale != 0).all()):
        raise ValueError("the statistics in its weights must be finite, and not zero.")
    return found
