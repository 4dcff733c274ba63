"""Latents that other programs saved: .safetensors, .npy, and ComfyUI's .latent. They don't name their autoencoder.

`latent_of` says it: NAME:scaled for values of about unit variance, as diffusers' pipelines hold them, NAME:unscaled for
values as the encoder gives them. Costs no torch until values are read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError  # of numpy's reader of headers
from typing import TYPE_CHECKING

from latentflow.base.errors import InputError, first_line
from latentflow.base.options import counted

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from latentflow.models.autoencoder import Autoencoder

SUFFIXES = (".safetensors", ".npy", ".latent")
UNITS = ("scaled", "unscaled")
# ComfyUI's nodes SaveLatent and LoadLatent (nodes.py): unscaled with the marker, multiplied by 0.18215 before there was
COMFY_TENSOR, COMFY_UNSCALED, COMFY_FACTOR = "latent_tensor", "latent_format_version_0", 0.18215
NAMES = (COMFY_TENSOR, "latent", "latents", "samples")


@dataclass(frozen=True, slots=True)
class Contents:
    """The shapes of the tensors in a file of latents, and its metadata; the one array of a .npy file has no name."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]

    @property
    def is_ours(self) -> bool:
        """True if this program saved it; then the file itself names its autoencoder."""
        return "autoencoder" in self.metadata

    @property
    def is_comfy(self) -> bool:
        """True if ComfyUI saved it; then its units are known."""
        return COMFY_TENSOR in self.shapes

    @property
    def tensor(self) -> str | None:
        """The name of the latent; None where several tensors may be it."""
        found = [name for name in NAMES if name in self.shapes] or list(self.shapes)
        return found[0] if len(found) == 1 else None


def look_into(path: Path) -> Contents:
    """Read the contents of a file of latents from its header; raises `InputError` for a file without latents."""
    from safetensors import SafetensorError

    from latentflow.models.headers import read_header

    try:
        if path.suffix.lower() == ".npy":
            return Contents({"": _array(path).shape}, {})
        tensors, metadata = read_header(path)
    except FileNotFoundError:
        raise InputError(f"The latent {path} does not exist.") from None
    except (SafetensorError, OSError, ValueError, EOFError, TokenError) as error:
        raise InputError(f"{path} is not a saved latent: {first_line(error)}.") from error
    return Contents({name: info.shape for name, info in tensors.items()}, metadata)


def check_owner(path: Path, contents: Contents, latent_of: str | None) -> tuple[str, str]:
    """The name and the units that `latent_of` gives a latent of another program; raises `InputError` where it is
    missing, lacks the units, or contradicts the file."""
    units = "[:unscaled]" if contents.is_comfy else ":scaled or NAME:unscaled"
    if contents.tensor is None:
        raise InputError(
            f"{path} is not a saved latent: it has {counted(len(contents.shapes), 'tensor')}, none called latent."
        )
    if latent_of is None:
        raise InputError(f"{path} doesn't say which autoencoder it belongs to.", f"Add `latent_of` NAME{units}")
    name, _, given = latent_of.rpartition(":")
    if given not in UNITS:
        name, given = latent_of, "unscaled" if contents.is_comfy else ""
    if not name or not given:
        raise InputError(f"`latent_of` {latent_of!r} doesn't say all: a name and the units.", f"Write NAME{units}")
    if contents.is_comfy and given == "scaled":
        raise InputError(f"`latent_of` {latent_of}: {path} is from ComfyUI, which saves latents unscaled.")
    return name, given


def read_foreign(path: Path, contents: Contents, autoencoder: Autoencoder, latent_of: str | None) -> Tensor:
    """A latent (1, c, rows, columns) of another program, in the units of this one; raises `InputError` as `check_owner`
    does, and for a latent of a different autoencoder."""
    name, units = check_owner(path, contents, latent_of)
    if name not in _names(autoencoder):
        raise InputError(
            f"`latent_of` {name}: the autoencoder in use is {autoencoder.name}.", "Correct the name, or the `vae`."
        )
    latent = read_values(path, contents.tensor or "")
    if latent.ndim == 3:
        latent = latent[None]
    latent = _as_held(latent, autoencoder, units)
    if contents.is_comfy and COMFY_UNSCALED not in contents.shapes:
        latent = latent / COMFY_FACTOR
    if units == "scaled" or latent.ndim != 4 or latent.shape[1] != autoencoder.channels:  # a wrong shape is told later
        return latent
    if contents.is_comfy and _is_packed(autoencoder):  # there FLUX.2's encoder itself normalizes
        return latent
    geometry = autoencoder.geometry
    return (latent - geometry.shift.cpu()) * geometry.scale.cpu()


def foreign_content(suffix: str, latent: Tensor, autoencoder: Autoencoder) -> bytes:
    """The bytes of a file that other programs read, with a latent (1, c, rows, columns) of about unit variance: .npy
    with it as it is, or ComfyUI's .latent in the encoder's own units."""
    import numpy as np
    import torch

    latent = latent.detach().float().cpu()
    if suffix == ".npy":
        memory = io.BytesIO()
        np.save(memory, latent.numpy())
        return memory.getvalue()
    from safetensors.torch import save

    from latentflow.base.state import canonical

    geometry = autoencoder.geometry
    if not _is_packed(autoencoder):  # there FLUX.2's encoder itself normalizes
        latent = latent / geometry.scale.cpu() + geometry.shift.cpu()
    return canonical(save({COMFY_TENSOR: latent.contiguous(), COMFY_UNSCALED: torch.tensor([])}))


def _is_packed(autoencoder: Autoencoder) -> bool:
    from latentflow.models.adapters import Packed

    return isinstance(autoencoder.model, Packed)


def _as_held(latent: Tensor, autoencoder: Autoencoder, units: str) -> Tensor:
    """A latent in the shape of this autoencoder's, where another program has it otherwise: with a time axis of one
    frame, or as one of FLUX.2 in 32 channels in place of 128 and the other way round."""
    from torch.nn.functional import pixel_shuffle, pixel_unshuffle

    if latent.ndim == 5 and latent.shape[2] == 1:
        latent = latent[:, :, 0]
    if latent.ndim != 4 or units == "scaled":
        return latent
    if (
        _is_packed(autoencoder)
        and latent.shape[1] * 4 == autoencoder.channels
        and not any(side % 2 for side in latent.shape[2:])
    ):
        return pixel_unshuffle(latent, 2)
    return pixel_shuffle(latent, 2) if (latent.shape[1], autoencoder.channels) == (128, 32) else latent


def _names(autoencoder: Autoencoder) -> set[str]:
    """Return the possible names of an autoencoder: as `vae` names it, or the last part of that, with and without a
    suffix."""
    last = Path(re.sub(r"[:@].*", "", autoencoder.name))
    return {autoencoder.name, last.name, last.stem}


def read_values(path: Path, name: str) -> Tensor:
    """The values of the tensor `name`, or of the array of a .npy file, float32, on the CPU."""
    import torch
    from safetensors import safe_open

    if path.suffix.lower() != ".npy":
        with safe_open(str(path), framework="pt") as file:
            return file.get_tensor(name).float()  # type: ignore[no-any-return]
    return torch.from_numpy(_array(path).astype("float32"))


def _array(path: Path) -> np.ndarray:
    """The array of a .npy file, mapped; raises `ValueError` for one that isn't real numbers."""
    import numpy as np

    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ValueError("it is not an array of real numbers")
    return array
