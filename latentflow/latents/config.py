"""Latents to start from, and what all that look at latents share."""

from dataclasses import dataclass

from latentflow.base.options import MAX_SEED, Options, option
from latentflow.models.config import ModelOptions
from latentflow.pictures.config import ReadingOptions
from latentflow.sinks.config import OverwriteOption

NAMED_STARTS = ("normal", "uniform", "zeros", "encode")


@dataclass(frozen=True, kw_only=True)
class ForeignOption(Options):
    """The option that names the source of latents saved by other programs."""

    latent_of: str | None = option(
        None,
        "Source and units of a latent that another program saved: the `vae` it belongs to, then :scaled (about unit "
        "variance, as diffusers' pipelines hold it) or :unscaled (as the encoder gives it).",
        metavar="NAME:UNITS",
    )


@dataclass(frozen=True, kw_only=True)
class StartOptions(ForeignOption):
    """The start of a run."""

    init: str = option(
        "normal",
        "Initial latent: normal, uniform, zeros, encode (the encoder's latent of the target), random:SEED, an image, "
        "or a latent (.safetensors, .npy, .latent).",
        metavar="START",
        names_file=True,
    )
    seed: int | None = option(
        None, "Seed of the initial latent; chosen at random and reported if omitted.", minimum=0, maximum=MAX_SEED
    )


@dataclass(frozen=True, kw_only=True)
class ViewConfig(ReadingOptions, ModelOptions, OverwriteOption):
    """The options that all views of a latent space share: which autoencoder, and how large its pictures are."""

    size: int = option(256, "Longer side of each picture in pixels.", minimum=8, maximum=4096)
