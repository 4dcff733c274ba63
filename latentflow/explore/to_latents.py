"""`encode`: pictures become latents, refined so that their pictures are as near as the decoder comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.base.session import Session
from latentflow.base.surroundings import undisturbed
from latentflow.explore.config import EncodeConfig, ObjectiveOptions
from latentflow.explore.items import Item, check_items, convert, facts, put
from latentflow.inversion.refine import refine
from latentflow.inversion.target import ImageLike, checked_tensor, read_picture
from latentflow.latents.files import latent_content
from latentflow.pictures.files import check_image, fit, to_tensor
from latentflow.pictures.folders import find_images
from latentflow.pictures.reader import Reader
from latentflow.runs.job import MOST_NAMED, Files, Job, Report, Stages, run_job

if TYPE_CHECKING:
    from latentflow.models.autoencoder import Autoencoder

SUFFIXES = (".safetensors", ".latent", ".npy")


def run_encode(sources: Sequence[str], config: EncodeConfig, session: Session) -> Report:
    """Encode the pictures that the sources name, each into a file; raises `LatentflowError` as its parts do."""
    return run_job(Stages(check=_check, make=_make, facts=facts), sources, config, session)


def _check(sources: Sequence[str], config: EncodeConfig) -> Files:
    files = check_items("encode", sources, config, SUFFIXES, "image", find_images)
    if len(files.found.items) == 1:
        check_image(files.found.items[0].path, "The image", config.max_pixels)
    return files


def _make(job: Job[EncodeConfig]) -> None:
    def make(item: Item) -> dict[str, Any]:
        picture = job.reader.read(item.path, "The image")
        if job.config.size is not None:
            picture = fit(picture, job.config.size, job.config.fit)
        target = to_tensor(picture).to(job.autoencoder.device)
        latent, figures = refined(job.autoencoder, target, job.config, job.session)
        notes = {"source": item.path.name, "refine": job.config.refine, "psnr": f"{figures['psnr']:.4f}"}
        suffix = Path(job.config.output_path).suffix.lower() or SUFFIXES[0]  # of standard output
        put(item.output, latent_content(suffix, latent, job.autoencoder, (picture.height, picture.width), notes))
        return figures

    convert(job, make)
    made = job.report.figures["items"]
    if len(made) > MOST_NAMED:
        names = ("psnr", "encoder_psnr", "steps")
        made = [{"source": "mean", **{name: fmean(each[name] for each in made) for name in names}}]
    job.report.lines += [_line(each) for each in made]


def _line(figures: dict[str, Any]) -> str:
    psnr, own = f"{figures['psnr']:.2f} dB", f"{figures['encoder_psnr']:.2f} dB"
    return f"psnr     {figures['source']}: {psnr} after {figures['steps']:.3g} steps, the encoder's own {own}"


@undisturbed
def encode_images(images: ImageLike | Sequence[ImageLike], config: EncodeConfig, vae: Any, session: Session) -> Tensor:
    """The latents (n, c, rows, columns) of images that a caller has; raises `InputError` for anything else, and for
    images of several sizes."""
    reader = Reader(config, session.say)
    if isinstance(images, Tensor):
        pictures = checked_tensor(images, "`images`")
        if config.size is not None:
            one_by_one = (read_picture(each, reader) for each in pictures)
            pictures = torch.cat([to_tensor(fit(each, config.size, config.fit)) for each in one_by_one])
    else:
        several: Sequence[Any] = images if isinstance(images, list | tuple) else [images]
        read = [read_picture(each, reader, "`images`") for each in several]
        fitted = read if config.size is None else [fit(each, config.size, config.fit) for each in read]
        sizes = sorted({each.size for each in fitted})
        if len(sizes) != 1:
            found = ", ".join(f"{width} × {height}" for width, height in sizes) or "none"
            raise InputError(
                f"`images` of one size become one batch of latents, not {found}.", "Give `size` and `fit` cover."
            )
        pictures = torch.cat([to_tensor(each) for each in fitted])
    reader.say_notes()
    autoencoder = session.load(vae, config.weights, config.device, config.dtype, config.vae_config).autoencoder
    parts = pictures.to(autoencoder.device).split(1)  # each as it would be alone
    return torch.cat([refined(autoencoder, each, config, session)[0] for each in parts])


def refined(
    autoencoder: Autoencoder, target: Tensor, config: ObjectiveOptions, session: Session
) -> tuple[Tensor, dict[str, Any]]:
    """The latent (1, c, rows, columns) of a picture (1, 3, h, w) by the options, and its figures."""
    steps, updates = config.steps
    found = autoencoder.refined(target, steps, lambda step: session.check())
    latent, psnr = found.latent, float(found.psnr)
    if updates:
        latent, _, psnr = refine(autoencoder, latent, target, updates, session, loss=config.loss_type)
    return latent, {"psnr": psnr, "encoder_psnr": float(found.before), "steps": found.steps + updates}
