# Written by docs/generate.py: make docs
from collections.abc import Iterator
from collections.abc import Sequence
from os import PathLike
from typing import Any
from typing import Literal
import numpy as np
import torch
from latentflow.explore.evaluate.run import Evaluation
from latentflow.latents.sources import AnchorLike
from latentflow.inversion.target import ImageLike
from latentflow.explore.to_pictures import LatentsLike
from latentflow.explore.composite import Composite
from PIL import Image
from torch import Tensor
from latentflow.models.autoencoder import Autoencoder
from latentflow.base.records import Labeled
from latentflow.base.session import Session

def encode(
    images: ImageLike | Sequence[ImageLike],
    *,
    refine: int | str = 'auto',
    vae: str | PathLike[str] | Autoencoder = 'bundled',
    session: Session | None = None,
    loss_type: str = 'mse',
    fit: Literal["contain", "cover", "stretch"] = 'contain',
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int | None = None,
) -> Tensor:
    """Encode images and refine their latents so that the decoder's pictures come as near as they can.

    `images` are a path, a PIL picture, an array (h, w[, 3 or 4]) of uint8, or a list of these, all of one size; or a
    tensor (3, h, w) or (n, 3, h, w) of floats in [0, 1]. `refine` is a number of gradient-free steps, 0 for the
    encoder's own latent, "auto", or "gradient:N". `vae` is a name, a folder, a file or an `Autoencoder`; the options
    are those of the command. `session` shares loaded models, and its `stop()` ends the work with `Interrupted`.

    Returns latents (n, c, rows, columns) of about unit variance. Raises `InputError` for a wrong option, for anything
    but images and for images of several sizes, `WeightsError` for weights that are missing."""
    ...

def decode(
    latents: LatentsLike,
    *,
    vae: str | PathLike[str] | Autoencoder = 'bundled',
    session: Session | None = None,
    latent_of: str | None = None,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
) -> Tensor:
    """Decode latents, or files of latents, into pictures.

    `latents` are a tensor or array (c, rows, columns) or (n, c, rows, columns) of about unit variance, a path, or a
    list of paths, all of one size. `vae` is a name, a folder, a file or an `Autoencoder`; the options are those of the
    command. `session` shares loaded models.

    Returns pictures (n, 3, h, w), nominally in [0, 1], unclamped. Raises `InputError` for a wrong option and for
    anything but latents of this autoencoder, `WeightsError` for weights that are missing."""
    ...

def composite(
    sources: Sequence[AnchorLike],
    masks: Sequence[str | PathLike[str] | Image.Image],
    *,
    vae: str | PathLike[str] | Autoencoder = 'bundled',
    session: Session | None = None,
    refine: str = 'gradient:10',
    latent_of: str | None = None,
    fit: Literal["contain", "cover", "stretch"] = 'contain',
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int = 256,
) -> Composite:
    """Put pictures over each other under masks, the first on top, and find the latent of what is seen.

    `sources` are images, saved latents or "random:SEED", PIL pictures, or latents as tensors or arrays (c, rows,
    columns) or (1, c, rows, columns). `masks` are paths or PIL pictures, one for each source but the last: a layer
    shows where its mask is white. `vae` is a name, a folder, a file or an `Autoencoder`; the options are those of the
    command. `session` shares loaded models, and its `stop()` ends the work with `Interrupted`.

    Returns a `Composite`: latent, picture, and how far that is off. Raises `InputError` for a wrong option, source or
    mask, `WeightsError` for weights that are missing."""
    ...

def walk(
    sources: Sequence[AnchorLike],
    *,
    vae: str | PathLike[str] | Autoencoder = 'bundled',
    positions: Sequence[float] | np.ndarray | None = None,
    session: Session | None = None,
    latent_of: str | None = None,
    fit: Literal["contain", "cover", "stretch"] = 'contain',
    audio: str | PathLike[str] | None = None,
    motion: Literal["percussive", "energy", "beats", "bars", "chroma", "constant"] | None = None,
    from_: str | None = None,
    to: str | None = None,
    marks: Sequence[str] | None = None,
    every: int | None = None,
    beats_per_bar: int | None = None,
    bpm: float | None = None,
    first_beat: str | None = None,
    smooth: float | None = None,
    margin: float | None = None,
    sensitivity: float | None = None,
    midi: str | PathLike[str] | None = None,
    map_: str | PathLike[str] | None = None,
    offset: float | None = None,
    attack: float | None = None,
    release: float | None = None,
    reach: float | None = None,
    seed: int | None = None,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int = 256,
    method: Literal["slerp", "lerp", "spline"] = 'slerp',
    order: Literal["name", "nearest", "date"] = 'name',
    loop: bool = False,
    frames: int | None = None,
    seconds: float | None = None,
    ease: Literal["linear", "in_out", "stops"] = 'linear',
    even: bool = False,
    measure: Literal["mse", "lpips"] = 'mse',
    budget_frames: int | None = None,
    budget_seconds: float | None = None,
    refine: int = 0,
    fps: float = 20.0,
    hold_anchors: float = 0.0,
) -> Iterator[Labeled]:
    """Walk through the latent space from source to source; frames come as they are decoded, and no file is written.

    `sources` are images, saved latents or "random:SEED", at least two, or one folder of images; a PIL picture, and a
    latent as a tensor or array (c, rows, columns) or (1, c, rows, columns), can be among them, and then the latent sets
    the size of all pictures. `vae` is a name, a folder, a file or an `Autoencoder`. The options are those of the
    command, with its defaults, and so are the frames; `fps` matters where seconds are given, as by `audio`. Each frame
    says in `caption` where it is. Every source has a frame of its own where there are as many frames. `positions` are
    those of the frames, from 0 at the first source, one from each to the next, instead of `frames` and `ease`.
    `session` shares loaded models, and its `stop()`, from any thread, ends the walk with `Interrupted` after the frame
    in hand.

    Raises `InputError` for a wrong option or source and for options that are about files, `WeightsError` for weights
    that are missing."""
    ...

def evaluate(
    folder: str | PathLike[str],
    *old: Any,
    vae: str | PathLike[str] | Autoencoder | Sequence[str | PathLike[str] | Autoencoder] = 'bundled',
    session: Session | None = None,
    output_path: str | PathLike[str] | None = None,
    fit: Literal["contain", "cover", "stretch"] = 'contain',
    overwrite: bool = False,
    vae_config: str | None = None,
    weights: Literal["auto", "pretrained", "bundled"] = 'auto',
    device: str | torch.device = 'auto',
    dtype: Literal["auto", "float32", "bfloat16"] | torch.dtype = 'auto',
    background: str = 'white',
    max_pixels: int = 178000000,
    size: int = 256,
    optimize: int = 0,
    worst: int = 4,
    by: Literal["psnr", "ssim", "ms_ssim", "lpips"] = 'psnr',
) -> Evaluation:
    """Measure how well autoencoders reconstruct the images of a folder: PSNR, SSIM, MS-SSIM, LPIPS and rFID.

    `vae` is an autoencoder, by name, folder, file or as an `Autoencoder`, or a list of them. The options are those of
    the command, with its defaults. No file is written unless `output_path` names the figure; then everything that the
    command writes is written, and a stopped evaluation goes on from its table. `session` shares loaded models.

    Returns an `Evaluation`, which has one row of figures per autoencoder. Raises `InputError` for a wrong option and
    for a folder without images, `WeightsError` for weights that are missing."""
    ...
