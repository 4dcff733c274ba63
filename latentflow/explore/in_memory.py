"""Views that a caller of Python has in memory: no file is written unless one is asked for.

Type checkers read `in_memory.pyi`, which docs/generate.py writes, with every option by name.
"""

import warnings
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from latentflow.base.errors import InputError
from latentflow.base.session import Session
from latentflow.explore.calls import check_in_memory, check_names, file_options, taking
from latentflow.explore.config import CompositeConfig, DecodeConfig, EncodeConfig, EvaluateConfig, WalkConfig

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

    from latentflow.base.records import Labeled
    from latentflow.explore.composite import Composite
    from latentflow.explore.evaluate.run import Evaluation
    from latentflow.explore.to_pictures import LatentsLike
    from latentflow.inversion.target import ImageLike
    from latentflow.latents.sources import AnchorLike
    from latentflow.models.autoencoder import Autoencoder


@taking(WalkConfig, without=file_options(WalkConfig) - {"fps"})
def walk(
    sources: "Sequence[AnchorLike]",
    *,
    vae: "str | PathLike[str] | Autoencoder" = "bundled",
    positions: "Sequence[float] | np.ndarray | None" = None,
    session: Session | None = None,
    **options: Any,
) -> "Iterator[Labeled]":
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
    that are missing.
    """
    from latentflow.explore.walk import walk_frames

    if isinstance(sources, str | PathLike):
        raise InputError("`sources` is a list of images, saved latents or random:SEED, not one text.")
    check_in_memory(options, WalkConfig, "walk")
    return walk_frames(list(sources), options, vae, positions, session or Session())


@taking(EncodeConfig, without=(*file_options(EncodeConfig), "refine"))
def encode(
    images: "ImageLike | Sequence[ImageLike]",
    *,
    refine: int | str = "auto",
    vae: "str | PathLike[str] | Autoencoder" = "bundled",
    session: Session | None = None,
    **options: Any,
) -> "Tensor":
    """Encode images and refine their latents so that the decoder's pictures come as near as they can.

    `images` are a path, a PIL picture, an array (h, w[, 3 or 4]) of uint8, or a list of these, all of one size; or a
    tensor (3, h, w) or (n, 3, h, w) of floats in [0, 1]. `refine` is a number of gradient-free steps, 0 for the
    encoder's own latent, "auto", or "gradient:N". `vae` is a name, a folder, a file or an `Autoencoder`; the options
    are those of the command. `session` shares loaded models, and its `stop()` ends the work with `Interrupted`.

    Returns latents (n, c, rows, columns) of about unit variance. Raises `InputError` for a wrong option, for anything
    but images and for images of several sizes, `WeightsError` for weights that are missing.
    """
    from latentflow.explore.to_latents import encode_images

    check_in_memory(options, EncodeConfig, "encode")
    return encode_images(images, EncodeConfig(refine=str(refine), **options), vae, session or Session())


@taking(CompositeConfig, without=file_options(CompositeConfig) | {"mask"})
def composite(
    sources: "Sequence[AnchorLike]",
    masks: "Sequence[str | PathLike[str] | Image.Image]",
    *,
    vae: "str | PathLike[str] | Autoencoder" = "bundled",
    session: Session | None = None,
    **options: Any,
) -> "Composite":
    """Put pictures over each other under masks, the first on top, and find the latent of what is seen.

    `sources` are images, saved latents or "random:SEED", PIL pictures, or latents as tensors or arrays (c, rows,
    columns) or (1, c, rows, columns). `masks` are paths or PIL pictures, one for each source but the last: a layer
    shows where its mask is white. `vae` is a name, a folder, a file or an `Autoencoder`; the options are those of the
    command. `session` shares loaded models, and its `stop()` ends the work with `Interrupted`.

    Returns a `Composite`: latent, picture, and how far that is off. Raises `InputError` for a wrong option, source or
    mask, `WeightsError` for weights that are missing.
    """
    from latentflow.explore.composite import composite_of

    check_in_memory(options, CompositeConfig, "composite")
    return composite_of(list(sources), list(masks), CompositeConfig(**options), vae, session or Session())


@taking(DecodeConfig, without=file_options(DecodeConfig))
def decode(
    latents: "LatentsLike",
    *,
    vae: "str | PathLike[str] | Autoencoder" = "bundled",
    session: Session | None = None,
    **options: Any,
) -> "Tensor":
    """Decode latents, or files of latents, into pictures.

    `latents` are a tensor or array (c, rows, columns) or (n, c, rows, columns) of about unit variance, a path, or a
    list of paths, all of one size. `vae` is a name, a folder, a file or an `Autoencoder`; the options are those of the
    command. `session` shares loaded models.

    Returns pictures (n, 3, h, w), nominally in [0, 1], unclamped. Raises `InputError` for a wrong option and for
    anything but latents of this autoencoder, `WeightsError` for weights that are missing.
    """
    from latentflow.explore.to_pictures import decode_latents

    check_in_memory(options, DecodeConfig, "decode")
    config, session = DecodeConfig(**options), session or Session()
    loaded = session.load(vae, config.weights, config.device, config.dtype, config.vae_config)
    return decode_latents(latents, loaded.autoencoder, config.latent_of)


@taking(EvaluateConfig, without=("old",))
def evaluate(
    folder: str | PathLike[str],
    *old: Any,
    vae: "str | PathLike[str] | Autoencoder | Sequence[str | PathLike[str] | Autoencoder]" = "bundled",
    session: Session | None = None,
    output_path: str | PathLike[str] | None = None,
    **options: Any,
) -> "Evaluation":
    """Measure how well autoencoders reconstruct the images of a folder: PSNR, SSIM, MS-SSIM, LPIPS and rFID.

    `vae` is an autoencoder, by name, folder, file or as an `Autoencoder`, or a list of them. The options are those of
    the command, with its defaults. No file is written unless `output_path` names the figure; then everything that the
    command writes is written, and a stopped evaluation goes on from its table. `session` shares loaded models.

    Returns an `Evaluation`, which has one row of figures per autoencoder. Raises `InputError` for a wrong option and
    for a folder without images, `WeightsError` for weights that are missing.
    """
    if not isinstance(folder, str | PathLike):
        return _evaluate_images(folder, *old, session=session, **options)
    if old:
        raise InputError("evaluate takes one folder; its options are given by name.")
    from latentflow.explore.evaluate.run import evaluate_in_memory, evaluate_to_files

    session, name = session or Session(), str(folder)
    if output_path is None:
        check_in_memory(options, EvaluateConfig, "evaluate")
        return evaluate_in_memory(name, EvaluateConfig(vae=session.name(vae), **options), session)
    check_names(options, EvaluateConfig, "evaluate")
    config = EvaluateConfig(vae=session.name(vae), output_path=str(output_path), **options)
    return evaluate_to_files(name, config, session)[0]


def _evaluate_images(*given: Any, **options: Any) -> Any:
    """Call `evaluate_images`, with a warning: earlier versions of `evaluate` took an autoencoder and paths."""
    from latentflow.explore.evaluate.reconstruction import evaluate_images

    warnings.warn(
        "latentflow.evaluate takes a folder now; with an autoencoder and paths it is latentflow.views.evaluate_images.",
        DeprecationWarning,
        stacklevel=3,
    )
    return evaluate_images(*given, **options)
