"""What is trained: any diffusers image autoencoder, and what keeps its latents in order."""

import json
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentflow.errors import InputError
from latentflow.models.autoencoder import SERVED
from latentflow.models.weights import WEIGHTS_FILE
from latentflow.training.config import PRESETS, TrainConfig

SMALLEST_JUDGED = 32  # pixels a side that the discriminator's convolutions need


def read_config(name: str, channels: int | None = None) -> dict[str, Any]:
    """The diffusers config of a preset or a file, with `channels` latent channels if given.

    Raises `InputError` for a file that is none, a class that isn't served and pictures of other than three channels.
    """
    source = Path(str(files("latentflow.training"))) / "presets" / f"{name}.json" if name in PRESETS else Path(name)
    try:
        config = json.loads(source.expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--config {name} can't be read: {reason}.", f"Presets: {', '.join(PRESETS)}.") from error
    if not isinstance(config, dict) or config.get("_class_name") not in SERVED:
        raise InputError(f"--config {name} is for no autoencoder that is served: {', '.join(SERVED)}.")
    if {config.get("in_channels", 3), config.get("out_channels", 3)} != {3}:
        raise InputError(f"--config {name} is not for pictures of three channels.")
    return config if channels is None else config | {"latent_channels": channels}


def check_crop(model_config: dict[str, Any], config: TrainConfig) -> None:
    """Raise `InputError` for crops that are no whole latent cells, or too small for the discriminator."""
    widths = model_config.get(SERVED[model_config["_class_name"]][1])
    stride = 2 ** (len(widths) - 1) if isinstance(widths, list | tuple) else 1
    if config.crop % stride:
        raise InputError(f"--crop {config.crop}: the model has {stride} pixels a latent cell; give a multiple.")
    if config.gan_weight and config.crop < SMALLEST_JUDGED:
        raise InputError(f"--crop {config.crop}: with --gan_weight crops have at least {SMALLEST_JUDGED} pixels.")


def build(config: dict[str, Any]) -> Any:
    """A diffusers model with random weights; raises `InputError` for a config its class refuses."""
    name = config["_class_name"]
    cls = getattr(import_module(f"diffusers.models.autoencoders.{SERVED[name][0]}"), name)
    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    arguments["scaling_factor"] = 1.0  # measured at the end; the classes' own defaults are of published models
    arguments |= {key: None for key in ("shift_factor", "latents_mean", "latents_std") if key in arguments}
    try:
        return cls(**arguments)
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError, AttributeError) as error:
        raise InputError(f"--config: {name} can't be built: {str(error).splitlines()[0]}") from error


def load_weights(model: Any, folder: Path) -> None:
    """Fill a model with the weights of a folder; raises `InputError` when they don't fit it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        values = load_file(folder / WEIGHTS_FILE)
        model.load_state_dict({name: value.float() for name, value in values.items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--start {folder}: its weights can't be taken for this --config: {reason}") from error


class Autoencoding(nn.Module):
    """Encode, disturb, decode: one forward pass of a training, the unit that Accelerate wraps.

    A model with a posterior is disturbed by sampling from it (z = μ + σ·ε), one without by noise of standard deviation
    `noise`; draws come from torch's own generator. With `bf16` the model computes under autocast; what comes out is
    fp32.
    """

    def __init__(self, model: Any, noise: float, *, bf16: bool = False) -> None:
        super().__init__()
        self.model, self.noise, self.bf16 = model, noise, bf16

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The reconstruction (n, 3, h, w) of pictures in [-1, 1], and what their latents cost, (n,): the KL
        divergence, or `off_unit_variance`."""
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            output = self.model.encode(image)
            if hasattr(output, "latent_dist"):
                posterior = type(output.latent_dist)(output.latent_dist.parameters.float())
                disturbed = posterior.sample()
            else:
                values = (output.latents if hasattr(output, "latents") else output.latent).float()
                disturbed = values + self.noise * torch.randn_like(values)
            made = self.model.decode(disturbed).sample.float()
        if hasattr(output, "latent_dist"):
            return made, posterior.kl()
        return made, off_unit_variance(values).expand(len(image))


def has_posterior(config: dict[str, Any]) -> bool:
    """Whether models of this config encode to a distribution."""
    return config["_class_name"] in ("AutoencoderKL", "AsymmetricAutoencoderKL")


def off_unit_variance(latent: Tensor) -> Tensor:
    """How far the channels of a batch of latents (n, c, h, w) are from mean 0 and variance 1 and from being
    uncorrelated: mean squared channel mean, plus mean squared entry of the covariance less the identity."""
    values = latent.transpose(0, 1).flatten(1)
    mean = values.mean(1)
    centered = values - mean[:, None]
    covariance = centered @ centered.T / values.shape[1]
    identity = torch.eye(len(mean), device=latent.device, dtype=latent.dtype)
    return mean.square().mean() + (covariance - identity).square().mean()


def latent_term(config: TrainConfig, cost: Tensor, posterior: bool) -> Tensor:
    """What is added to the reconstruction loss, (n,), for the latents' `cost`.

    LDM sums reconstruction and KL over an image before it weighs them; here the reconstruction is a mean over
    3·crop² values, so the KL is divided by as many, which is the same but for a common factor.
    """
    return cost * (config.kl_weight / (3 * config.crop**2) if posterior else config.latent_weight)
