"""Latents on disk: safetensors, with the geometry and the name of the autoencoder they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latentflow.base.constants import RULES
from latentflow.base.errors import InputError
from latentflow.base.files import FORMAT_VERSION, check_version, write_file
from latentflow.base.options import counted
from latentflow.base.surroundings import undisturbed
from latentflow.latents.foreign import (
    Contents,
    check_owner,
    foreign_content,
    look_into,
    read_foreign,
    read_values,
)

if TYPE_CHECKING:
    from torch import Tensor

    from latentflow.models.autoencoder import Autoencoder

LARGEST_RMS = float(RULES["largest_rms"])  # of a latent that is in use: about 1 is usual


@undisturbed
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
    write_file(Path(path), latent_content(".safetensors", latent, autoencoder, size, notes), label)


def latent_content(
    suffix: str,
    latent: Tensor,
    autoencoder: Autoencoder,
    size: tuple[int, int],
    notes: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of a file of that suffix with a latent (1, c, rows, columns): .safetensors as `save_latent` writes it;
    .latent as ComfyUI does, in the encoder's own units; .npy as an array of about unit variance."""
    if suffix != ".safetensors":
        return foreign_content(suffix, latent, autoencoder)
    from safetensors.torch import save

    from latentflow.base.state import canonical

    metadata = {
        **latent_metadata(autoencoder),
        "height": str(size[0]),
        "width": str(size[1]),
        **(notes or {}),
    }
    return canonical(save({"latent": latent.detach().cpu().contiguous()}, metadata))


def latent_metadata(autoencoder: Autoencoder) -> dict[str, str]:
    """Return the metadata of a saved latent: its autoencoder, and the picture's height and width."""
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
    """Return the units of a latent's values."""
    geometry = autoencoder.geometry
    return {"scale": str(geometry.scale.flatten().tolist()), "shift": str(geometry.shift.flatten().tolist())}


def saved_notes(path: str | Path) -> dict[str, str]:
    """Return the metadata of a saved latent; nothing for a file without metadata or without a latent."""
    try:
        return dict(look_into(Path(path)).metadata)
    except InputError:
        return {}


def saved_size(path: str | Path, stride: int | None = None) -> tuple[int, int] | None:
    """Height and width of the picture a saved latent is of, as far as the file says so; of another program's latent,
    `stride` pixels per cell."""
    contents = look_into(Path(path))
    try:
        if stride is not None and not contents.is_ours:
            rows, columns = contents.shapes[contents.tensor or ""][-2:]
            return rows * stride, columns * stride
        return int(contents.metadata["height"]), int(contents.metadata["width"])
    except (LookupError, ValueError):
        return None


def check_saved(path: Path, latent_of: str | None = None) -> None:
    """Raise `InputError` for a file without a latent, and for another program's file unless `latent_of` gives the
    source and the units."""
    contents = look_into(path)
    if not contents.is_ours:
        check_owner(path, contents, latent_of)
    elif "held_out" in contents.metadata:
        raise InputError(f"{path} is a direction, not the latent of a picture.", "concept takes it.")


@undisturbed
def load_latent(path: str | Path, autoencoder: Autoencoder, latent_of: str | None = None) -> Tensor:
    """Read a latent (1, c, rows, columns) of this autoencoder, onto its device, in units of about unit variance.

    A latent that this program saved names its autoencoder. For another program's .safetensors, .npy or .latent,
    `latent_of` does: NAME:scaled or NAME:unscaled. Raises `InputError` for a file that isn't a latent, for a newer
    format, and for a latent of a different autoencoder: the same shape does not mean the same thing under another
    decoder. Raises it too for a shape or for values that no latent of this autoencoder has.
    """
    path = Path(path)
    contents = look_into(path)
    if contents.is_ours:
        latent = _read_own(path, contents, autoencoder)
    else:
        latent = read_foreign(path, contents, autoencoder, latent_of)
    name = "latent" if contents.is_ours else contents.tensor or ""
    is_held = not contents.is_ours and latent.ndim == 4 and latent.shape[1] == autoencoder.channels
    shape = latent.shape if is_held else contents.shapes[name]
    _check_shape(path, tuple(shape), autoencoder, is_ours=contents.is_ours)
    _check_values(path, latent, autoencoder, is_ours=contents.is_ours)
    return latent.to(autoencoder.device)


def _check_shape(path: Path, shape: Sequence[int], autoencoder: Autoencoder, *, is_ours: bool) -> None:
    """Raise `InputError` with the one thing that is wrong with a shape, the shape that is wanted, and how to get it."""
    channels, name = autoencoder.channels, autoencoder.name
    found, wanted = f"The latent {path} has the shape {tuple(shape)}", f"(1, {channels}, rows, columns)"
    if len(shape) == 5:
        raise InputError(
            f"{found}, that of a video: {counted(shape[2], 'frame')} of {shape[1]} channels; {wanted} is wanted.",
            f"Take one frame, latent[:, :, 0], of an autoencoder with {channels} channels.",
        )
    if len(shape) not in ((4,) if is_ours else (3, 4)):
        remedy = "Give it the shape that it had before it was flattened." if len(shape) < 3 else ""
        raise InputError(f"{found}; {wanted} is wanted.", remedy)
    count, found_channels, rows, columns = (1, *shape) if len(shape) == 3 else shape
    if found_channels != channels and columns == channels:
        axes = "(2, 0, 1)" if len(shape) == 3 else "(0, 3, 1, 2)"
        raise InputError(
            f"{found}, with its channels last; (1, {channels}, {found_channels}, {rows}) is wanted.",
            f"Move them to the front: latent.transpose{axes} in numpy, latent.permute{axes} in torch.",
        )
    if found_channels != channels:
        raise InputError(
            f"{found}: {counted(found_channels, 'channel')}, where latents of {name} have {channels}.",
            "Use the autoencoder it was made with.",
        )
    if count != 1:
        which = {0: "It holds none.", 2: "Take one of the two: latent[:1], or latent[1:]."}
        raise InputError(
            f"{found}: {counted(count, 'latent')} in one file; (1, {channels}, {rows}, {columns}) is wanted.",
            which.get(count, f"Take one of the {count}: latent[:1] is the first."),
        )


def _check_values(path: Path, latent: Tensor, autoencoder: Autoencoder, *, is_ours: bool) -> None:
    """Raise `InputError` for values that are not finite, and for values far from any latent of an autoencoder."""
    broken = int((~latent.isfinite()).sum())
    if broken:
        raise InputError(
            f"{broken} of the {latent.numel()} values of the latent {path} are not finite.",
            "What made it has failed: make it anew.",
        )
    rms = float(latent.double().square().mean().sqrt()) if latent.numel() else 0.0
    if rms > LARGEST_RMS:
        units = "" if is_ours else " Check the units in `latent_of`."
        raise InputError(
            f"The values of the latent {path} are far from any latent of {autoencoder.name}: their RMS is {rms:.3g}, "
            "and about 1 is usual.",
            f"Were they scaled twice?{units}",
        )


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
