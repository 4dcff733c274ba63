"""What can be wrong with the options of an inversion, found before torch is imported."""

from dataclasses import replace
from pathlib import Path

from latentflow.config import RunConfig
from latentflow.errors import InputError
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
    if not METHODS[config.method].uses_loss and config.loss_type != RunConfig().loss_type:
        raise InputError(
            f"`method` {config.method} follows no loss, so `loss_type` {config.loss_type} would have no effect.",
            "`method` hybrid begins without the gradient and goes on with the loss.",
        )
    check_initial(config.init, config.latent_of)
    return replace(config, optimizer=choice.optimizer.name, lr=choice.lr, betas=choice.betas)
