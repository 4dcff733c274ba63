"""Checks of the options of an inversion, made before torch is imported."""

from dataclasses import replace
from pathlib import Path

from latentflow.base.errors import InputError
from latentflow.inversion.config import RunConfig
from latentflow.inversion.methods import METHODS, choose
from latentflow.inversion.objective import parse
from latentflow.inversion.plugins import load_plugin
from latentflow.latents.sources import check_initial


def check_options(config: RunConfig) -> RunConfig:
    """Check what doesn't depend on the image, and fill in the method's optimizer and learning rate; raises
    `InputError`."""
    if config.plugin is not None:
        load_plugin(Path(config.plugin))
    parse(config.loss_type)
    choice = choose(config.method, config.optimizer, config.lr, config.steps, config.betas)
    if config.loss_type != RunConfig().loss_type:
        check_followed(config.method, f"`loss_type` {config.loss_type}")
    if config.changed("keep") and config.save_latent is None and config.save_image is None:
        raise InputError(f"`keep` {config.keep} goes with `save_latent` or `save_image`.", "Add one of them.")
    check_initial(config.init, config.latent_of)
    return replace(config, optimizer=choice.optimizer.name, lr=choice.lr, betas=choice.betas)


def check_followed(method: str, loss: str) -> None:
    """Raise `InputError` for a method on which a loss, named in words, has no effect."""
    if not METHODS[method].uses_loss:
        raise InputError(
            f"`method` {method} follows no loss, so {loss} would have no effect.",
            "`method` hybrid begins without the gradient and goes on with the loss.",
        )
