"""Targets of runs: read once, fitted to one size, with the weights of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.pixels import to_uint8
from latentflow.inversion.config import RunConfig
from latentflow.pictures.files import fit, resize, to_tensor
from latentflow.pictures.reader import Notes, Reader

ImageLike = str | PathLike[str] | Image.Image | np.ndarray | Tensor
LatentLike = np.ndarray | Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Images that pictures should become, `image` (n, 3, h, w) in [0, 1], and the weights of their pixels, `mask`
    (n, 1, h, w) in [0, 1], or None where all count alike. `notes` hold what reading them changed."""

    image: Tensor
    mask: Tensor | None = None
    notes: Notes = field(default_factory=Notes)

    def __len__(self) -> int:
        return len(self.image)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of each image."""
        return self.image.shape[-2], self.image.shape[-1]

    @property
    def share(self) -> float | None:
        """The share of the picture that the mask keeps, in [0, 1]: its mean relative to its brightest value, because
        only the ratios of weights matter. None without a mask."""
        return None if self.mask is None else round(float(self.mask.mean() / self.mask.max()), 6)

    def to(self, device: torch.device) -> Target:
        """The same target on another device."""
        return replace(self, image=self.image.to(device), mask=None if self.mask is None else self.mask.to(device))

    def of_image(self, index: int) -> Target:
        """The target of one image of a batch."""
        one = slice(index, index + 1)
        return replace(self, image=self.image[one], mask=None if self.mask is None else self.mask[one])

    @staticmethod
    def together(targets: Sequence[Target]) -> Target:
        """Targets of one size as a batch; all of them have a mask, or none has."""
        masks = [each.mask for each in targets if each.mask is not None]
        return Target(image=torch.cat([each.image for each in targets]), mask=torch.cat(masks) if masks else None)


def read_target(config: RunConfig, image_path: Path, reader: Reader, device: torch.device) -> Target:
    """The target that the options of a run name, on `device`; raises `InputError` for a file that isn't an image, and
    for a mask that doesn't fit it."""
    picture, mask = reader.read(image_path), None
    if config.mask is not None:
        drawn = reader.read(Path(config.mask).expanduser(), "`mask`", background="black")
        mask = _fitted_mask(drawn, picture, config, f"`mask` {config.mask}")
    return Target(image=_fitted(picture, config), mask=mask, notes=reader.notes).to(device)


def given_target(
    image: ImageLike, mask: ImageLike | None, config: RunConfig, reader: Reader, *, resized: bool
) -> Target:
    """The target from what a caller has. Tensors keep their size and precision unless they are to be `resized`; all
    others are fitted as `config` says. Raises `InputError` for anything but an image, and for a mask that doesn't fit
    it."""
    if not isinstance(image, Tensor):
        picture = read_picture(image, reader)
        fitted = _fitted(picture, config)
    else:
        images = checked_tensor(image, "`image`")
        picture = Image.new("L", (images.shape[-1], images.shape[-2]))  # its shape, for the mask
        fitted = torch.cat([_fitted(_to_picture(each), config) for each in images.split(1)]) if resized else images
    if mask is None:
        return Target(image=fitted, notes=reader.notes)
    if isinstance(mask, Tensor) and tuple(mask.shape[-2:]) == tuple(fitted.shape[-2:]):
        weights = _weights(mask, "`mask`")
    elif isinstance(mask, Tensor) and mask.ndim == 4 and len(mask) > 1:
        raise InputError(
            f"`mask`: the masks of a batch have its pictures' size {tuple(fitted.shape[-2:])}, not "
            f"{tuple(mask.shape[-2:])}."
        )
    else:
        weights = _fitted_mask(_read_mask(mask, reader), picture, config, size=(fitted.shape[-1], fitted.shape[-2]))
    if len(weights) not in (1, len(fitted)):
        raise InputError(f"`mask`: there are {len(weights)} masks for {len(fitted)} images.", "Give one, or one each.")
    return Target(image=fitted, mask=weights.expand(len(fitted), -1, -1, -1), notes=reader.notes)


def read_picture(
    image: ImageLike, reader: Reader, label: str = "`image`", background: str | None = None
) -> Image.Image:
    """A picture from what a caller has, transparency over `background` or as the reader has it; raises `InputError`,
    beginning with `label`, for anything else."""
    if isinstance(image, Tensor):
        tensor = checked_tensor(image, label)
        if len(tensor) != 1:
            raise InputError(f"{label}: one picture is wanted, not a batch of {len(tensor)}.")
        return _to_picture(tensor)
    if isinstance(image, np.ndarray):
        right = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
        if image.dtype != np.uint8 or not right or not image.size:
            raise InputError(f"{label}: an array is (h, w[, 3 or 4]) of uint8, not {image.dtype} {image.shape}.")
        image = Image.fromarray(image)
    if isinstance(image, Image.Image):
        return reader.standardize(image, label, background)
    if isinstance(image, str | PathLike):
        return reader.read(Path(image).expanduser(), label, background)
    raise InputError(f"{label} is a path, a PIL picture, an array or a tensor, not {type(image).__name__}.")


def checked_tensor(image: Tensor, label: str) -> Tensor:
    """Pictures (n, 3, h, w) of float32, clamped to [0, 1], from a caller's tensor; raises `InputError` for others."""
    shape = tuple(image.shape)
    if image.ndim == 3:
        image = image[None]
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point() or not image.numel():
        raise InputError(f"{label}: a tensor is (3, h, w) or (n, 3, h, w) of floats, not {shape}.")
    if not image.isfinite().all():
        raise InputError(f"{label}: the tensor has values that are not finite.")
    if image.min() < -0.5 or image.max() > 1.5:  # decoded pictures leave [0, 1] a little
        low, high = float(image.min()), float(image.max())
        found, remedy = (f"up to {high:g}", "x / 255") if low >= -0.5 else (f"from {low:g} to {high:g}", "x / 2 + 0.5")
        raise InputError(f"{label}: a tensor is in [0, 1], not {found}.", f"Scale it, perhaps by {remedy}.")
    return image.detach().float().clamp(0, 1)


def _to_picture(image: Tensor) -> Image.Image:
    return Image.fromarray(to_uint8(image))


def _fitted(picture: Image.Image, config: RunConfig) -> Tensor:
    """A picture as the target of a run, (1, 3, h, w) in [0, 1]."""
    return to_tensor(fit(picture, config.size, config.fit))


def _weights(mask: Tensor, label: str) -> Tensor:
    """Weights (n, 1, h, w) from a caller's tensor (h, w), (c, h, w) or (n, c, h, w) of one or three channels, floats in
    [0, 1] or bools; raises `InputError` for others."""
    shape = tuple(mask.shape)
    mask = mask.float() if mask.dtype == torch.bool else mask
    mask = mask.reshape(-1, *mask.shape[-3:]) if mask.ndim > 2 else mask[None, None]
    if mask.ndim == 4 and mask.shape[1] == 1:
        mask = mask.expand(-1, 3, -1, -1)
    weights = checked_tensor(mask, label).mean(dim=1, keepdim=True) if mask.shape[1] == 3 else None
    if weights is None:
        raise InputError(f"{label}: a tensor is (h, w), (1, h, w) or (n, 1, h, w), not {shape}.")
    if not weights.flatten(1).any(dim=1).all():
        raise InputError(f"{label} is black everywhere: no pixel would count.", "White marks what counts.")
    return weights


def _read_mask(mask: ImageLike, reader: Reader) -> Image.Image:
    """A mask from what a caller has; transparent parts become black. Raises `InputError` for anything but a picture."""
    if isinstance(mask, np.ndarray) and mask.dtype == np.bool_:
        mask = mask.astype(np.uint8) * 255
    if isinstance(mask, Tensor):
        mask = mask[None] if mask.ndim == 2 else mask
        if mask.ndim > 2 and mask.shape[-3] == 1:
            mask = mask.float().repeat_interleave(3, dim=-3)
    return read_picture(mask, reader, "`mask`", background="black")


def _fitted_mask(
    mask: Image.Image,
    picture: Image.Image,
    config: RunConfig,
    label: str = "`mask`",
    size: tuple[int, int] | None = None,
) -> Tensor:
    """A mask as it lies on the target that `picture` becomes, (1, 1, h, w) in [0, 1]; raises `InputError` when its
    aspect ratio differs from the picture's or it is black everywhere. `size` is that target's width and height, where
    it is known."""
    (width, height), (across, down) = picture.size, mask.size
    if abs(across * height - down * width) > max(width + height, across + down):  # more than rounding leaves
        raise InputError(
            f"{label} is {across} × {down}, but the image is {width} × {height}: they need one aspect ratio.",
            "Draw the mask on a copy of the image.",
        )
    as_large = resize(mask.convert("L"), width, height, sharp=False)
    lying = as_large if size == picture.size else fit(as_large, config.size, config.fit, sharp=False)
    weights = to_tensor(lying)[:, :1]
    if not weights.any():
        raise InputError(f"{label} is black everywhere: no pixel would count.", "White marks what counts.")
    return weights
