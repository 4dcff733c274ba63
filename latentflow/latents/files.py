"""Latents on disk: safetensors, with the geometry and the name of the autoencoder they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from latentflow.errors import InputError
from latentflow.files import FORMAT_VERSION, check_version, write_file
from latentflow.latents.foreign import Contents, check_owner, look_into, read_foreign, read_values

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

    metadata = {
        **latent_metadata(autoencoder),
        "height": str(size[0]),
        "width": str(size[1]),
        **(notes or {}),
    }
    content = save({"latent": latent.detach().cpu().contiguous()}, metadata)
    write_file(Path(path), canonical(content), label)


def latent_metadata(autoencoder: Autoencoder) -> dict[str, str]:
    """What the file of a latent says of the autoencoder that it is of; it also holds the picture's height and width."""
    return {
        "format": "latentflow",
        "format_version": str(FORMAT_VERSION),
        "autoencoder": autoencoder.name,
        "sha256": autoencoder.sha256,
        "channels": str(autoencoder.channels),
        "stride": str(autoencoder.stride),
        **_units(autoencoder),
    }


def _units(autoencoder: Autoencoder) -> dict[str, str]:
    """What a latent's values are measured in."""
    geometry = autoencoder.geometry
    return {"scale": str(geometry.scale.flatten().tolist()), "shift": str(geometry.shift.flatten().tolist())}


def saved_notes(path: str | Path) -> dict[str, str]:
    """What a saved latent says of itself; nothing where a file says nothing, or is none."""
    try:
        return dict(look_into(Path(path)).metadata)
    except InputError:
        return {}


def saved_size(path: str | Path, stride: int | None = None) -> tuple[int, int] | None:
    """Height and width of the picture a saved latent is of, as far as the file says so; of another program's latent,
    `stride` pixels a cell."""
    contents = look_into(Path(path))
    try:
        if stride is not None and not contents.is_ours:
            rows, columns = contents.shapes[contents.tensor or ""][-2:]
            return rows * stride, columns * stride
        return int(contents.metadata["height"]), int(contents.metadata["width"])
    except (LookupError, ValueError):
        return None


def check_saved(path: Path, latent_of: str | None = None) -> None:
    """Raise `InputError` for a file that holds no latent, and for one of another program unless `latent_of` says whose
    it is and in which units."""
    contents = look_into(path)
    if not contents.is_ours:
        check_owner(path, contents, latent_of)
    elif "held_out" in contents.metadata:
        raise InputError(f"{path} is a direction, not the latent of a picture.", "concept takes it.")


def load_latent(path: str | Path, autoencoder: Autoencoder, latent_of: str | None = None) -> Tensor:
    """Read a latent (1, c, rows, columns) of this autoencoder, onto its device, in units of about unit variance.

    A latent that this program saved says whose it is. For another's .safetensors, .npy or .latent, `latent_of` does:
    NAME:scaled or NAME:unscaled. Raises `InputError` for a file that is no latent, for one of a newer format, and for a
    latent of another autoencoder: the same shape does not mean the same thing under another decoder.
    """
    import torch

    path = Path(path)
    contents = look_into(path)
    if contents.is_ours:
        latent = _read_own(path, contents, autoencoder)
    else:
        latent = read_foreign(path, contents, autoencoder, latent_of)
    if latent.shape[:2] != (1, autoencoder.channels) or latent.ndim != 4 or not torch.isfinite(latent).all():
        raise InputError(f"The latent {path} has shape {tuple(latent.shape)} or values that are not finite.")
    return latent.to(autoencoder.device)


def _read_own(path: Path, contents: Contents, autoencoder: Autoencoder) -> Tensor:
    """A latent that this program saved, if it is this autoencoder's."""
    metadata = contents.metadata
    if "latent" not in contents.shapes:
        raise InputError(f"{path} is not a saved latent: it has no tensor called latent.")
    check_version(metadata.get("format_version", "1"), path)
    owner = metadata["autoencoder"]
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
    return read_values(path, "latent")
