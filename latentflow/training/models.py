"""The models that are trained: their configs, their forward pass, and the terms that regularize their latents."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from latentflow.base.errors import InputError, first_line
from latentflow.models.served import SERVED
from latentflow.models.weight_files import WEIGHTS_FILE
from latentflow.training.config import PRESETS, TrainConfig
from latentflow.training.gan import MIN_CROP


def read_config(name: str, channels: int | None = None) -> dict[str, Any]:
    """The diffusers config of a preset or a file, with `channels` latent channels if given.

    Raises `InputError` for a file that is not a config, a class that is not supported and images of other than three
    channels.
    """
    source = Path(str(files("latentflow.training"))) / "presets" / f"{name}.json" if name in PRESETS else Path(name)
    try:
        config = json.loads(source.expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"`config` {name} can't be read: {reason}.", f"Presets: {', '.join(PRESETS)}.") from error
    if not isinstance(config, dict) or config.get("_class_name") not in SERVED:
        raise InputError(f"`config` {name} is not the config of a supported autoencoder: {', '.join(SERVED)}.")
    if [config.get("in_channels", 3), config.get("out_channels", 3)] != [3, 3]:
        raise InputError(f"`config` {name} is not for images of three channels.")
    return config if channels is None else config | {"latent_channels": channels}


def check_model(model_config: dict[str, Any], config: TrainConfig) -> None:
    """Raise `InputError` for options that don't fit the model or each other: a KL weight without a posterior, noise on
    latents with one, a crop that is not a multiple of the stride or too small for the discriminator, a compiled model
    with a GAN loss."""
    if config.kl_weight != TrainConfig().kl_weight and not has_posterior(model_config):
        raise InputError(
            f"`kl_weight` is for models with a posterior; {model_config['_class_name']} has none.",
            "Use `latent_weight`, or `config` small-kl.",
        )
    for name in ("latent_weight", "latent_noise"):
        if getattr(config, name) != getattr(TrainConfig, name) and has_posterior(model_config):
            raise InputError(
                f"`{name}` is for models without a posterior; {model_config['_class_name']} has one.",
                "Use `kl_weight`.",
            )
    try:
        stride = SERVED[model_config["_class_name"]].stride(model_config)
    except (KeyError, TypeError):  # building the model will say what is missing
        stride = 1
    if config.crop % stride:
        raise InputError(f"`crop` must be a multiple of the model's stride, {stride}, not {config.crop}.")
    if config.gan_weight and config.crop < MIN_CROP:
        raise InputError(f"`crop` must be at least {MIN_CROP} with `gan_weight`, not {config.crop}.")
    if config.gan_weight and config.compile:  # its adaptive weight takes gradients more often than torch allows then
        raise InputError("`compile` can't be used together with `gan_weight`.")


def build(config: dict[str, Any]) -> Any:
    """A diffusers model with random weights; raises `InputError` for a config that its class refuses."""
    name = config["_class_name"]
    cls = SERVED[name].find(name)
    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    arguments["scaling_factor"] = 1.0  # measured at the end; the defaults of the classes are of published models
    arguments |= {key: None for key in ("shift_factor", "latents_mean", "latents_std") if key in arguments}
    try:
        return cls(**arguments)
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError, AttributeError) as error:
        raise InputError(f"`config`: {name} can't be built: {first_line(error)}.") from error


def load_weights(model: Any, folder: Path) -> None:
    """Load the weights of a folder into a model; raises `InputError` when they don't fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        values = load_file(folder / WEIGHTS_FILE)
        model.load_state_dict({name: value.float() for name, value in values.items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"`start` {folder}: the weights don't fit this `config`: {first_line(error)}.") from error


class Autoencoding(nn.Module):
    """One forward pass of the training: encode, add noise, decode. Accelerate wraps it.

    With a posterior the latent is sampled, z = μ + σ·ε; without one, noise of standard deviation `noise` is added to
    it. With `bf16` the model computes under autocast and returns fp32.
    """

    def __init__(self, model: Any, noise: float, *, bf16: bool = False) -> None:
        super().__init__()
        self.model, self.noise, self.bf16 = model, noise, bf16

    def forward(self, image: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """The reconstruction (n, 3, h, w) of images in [-1, 1], and the regularization of their latents, (n,): the KL
        divergence in nats, or `whitening_loss`. `generator`, on the image's device, draws the noise."""
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            output = self.model.encode(image)
            if hasattr(output, "latent_dist"):
                posterior = type(output.latent_dist)(output.latent_dist.parameters.float())
                latent = posterior.sample(generator)
            else:
                values = (output.latents if hasattr(output, "latents") else output.latent).float()
                # as randn_like, which takes no generator
                latent = values + self.noise * torch.empty_like(values).normal_(generator=generator)
            reconstruction = self.model.decode(latent).sample.float()
        if hasattr(output, "latent_dist"):
            return reconstruction, posterior.kl()
        return reconstruction, whitening_loss(values).expand(len(image))


def has_posterior(config: dict[str, Any]) -> bool:
    """Tell whether models of this config encode to a distribution."""
    return SERVED[config["_class_name"]].has_posterior


def whitening_loss(latent: Tensor) -> Tensor:
    """Distance of the channels of latents (n, c, h, w) from mean 0, variance 1 and no correlation: the mean squared
    channel mean plus the mean squared entry of the covariance minus the identity."""
    values = latent.transpose(0, 1).flatten(1)
    mean = values.mean(1)
    centered = values - mean[:, None]
    covariance = centered @ centered.T / values.shape[1]
    identity = torch.eye(len(mean), device=latent.device, dtype=latent.dtype)
    return mean.square().mean() + (covariance - identity).square().mean()


def weighted_regularization(config: TrainConfig, regularization: Tensor, posterior: bool) -> Tensor:
    """The regularization of the latents, (n,), with its weight.

    LDM adds the weighted KL divergence to a reconstruction loss that is summed over an image; here that loss is a mean
    over 3·crop² values, so the KL divergence is divided by 3·crop², which only scales the sum.
    """
    return regularization * (config.kl_weight / (3 * config.crop**2) if posterior else config.latent_weight)
