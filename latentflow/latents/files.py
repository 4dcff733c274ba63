"""Latents on disk: safetensors, with the geometry and the name of the autoencoder they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from latentflow.errors import InputError
from latentflow.files import FORMAT_VERSION, check_version, write_file

if TYPE_CHECKING:
    from torch import Tensor

    from latentflow.models.autoencoder import Autoencoder


def save_latent(
    path: str | Path,
    latent: Tensor,
    autoencoder: Autoencoder,
    size: tuple[int, int],
    notes: Mapping[str, str] | None = None,
    *,
    label: str = "`save_latent`",
) -> None:
    """Write a latent (1, c, rows, columns) of about unit variance as safetensors, complete or not at all.

    The metadata names the autoencoder and its hash, the geometry, the picture's `size` (height, width), and `notes`.
    Raises `OutputError` beginning with `label` when it can't be written.
    """
    from safetensors.torch import save

    from latentflow.state_files import canonical

    geometry = autoencoder.geometry
    metadata = {
        "format": "latentflow",
        "format_version": str(FORMAT_VERSION),
        "autoencoder": autoencoder.name,
        "sha256": autoencoder.sha256,
        "channels": str(geometry.channels),
        "stride": str(geometry.stride),
        **_units(autoencoder),
        "height": str(size[0]),
        "width": str(size[1]),
        **(notes or {}),
    }
    content = save({"latent": latent.detach().cpu().contiguous()}, metadata)
    write_file(Path(path), canonical(content), label)


def _units(autoencoder: Autoencoder) -> dict[str, str]:
    """What a latent's values are measured in."""
    geometry = autoencoder.geometry
    return {"scale": str(geometry.scale.flatten().tolist()), "shift": str(geometry.shift.flatten().tolist())}


def saved_notes(path: str | Path) -> dict[str, str]:
    """What a saved latent says of itself; nothing where a file says nothing, or is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}


def saved_size(path: str | Path) -> tuple[int, int] | None:
    """Height and width of the picture a saved latent is of, as far as the file says so."""
    notes = saved_notes(path)
    try:
        return int(notes["height"]), int(notes["width"])
    except (KeyError, ValueError):
        return None


def load_latent(path: str | Path, autoencoder: Autoencoder) -> Tensor:
    """Read a latent (1, c, rows, columns) that was saved for this autoencoder, onto its device.

    Raises `InputError` for a file that is not one, for one of a newer format, and for a latent of another autoencoder:
    the same shape does not mean the same thing under another decoder.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            latent: Tensor = file.get_tensor("latent").float()
    except FileNotFoundError:
        raise InputError(f"The latent {path} does not exist.") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a saved latent: {error}.") from error
    check_version(metadata.get("format_version", "1"), Path(path))
    owner = metadata.get("autoencoder", "an unnamed autoencoder")
    if metadata.get("sha256") != autoencoder.sha256:
        raise InputError(
            f"The latent {path} belongs to {owner}, not to {autoencoder.name} as loaded.",
            f"Use the weights it was made with: `vae` {owner}",
        )
    units = _units(autoencoder)
    if any(metadata.get(key) != value for key, value in units.items()):
        raise InputError(
            f"The latent {path} was saved with scale {metadata.get('scale')} and shift {metadata.get('shift')}, but "
            f"{autoencoder.name} has scale {units['scale']} and shift {units['shift']}.",
            f"Use the config it was made with: `vae` {owner}",
        )
    if latent.ndim != 4 or latent.shape[1] != autoencoder.geometry.channels or not torch.isfinite(latent).all():
        raise InputError(f"The latent {path} has shape {tuple(latent.shape)} or values that are not finite.")
    return latent.to(autoencoder.device)
