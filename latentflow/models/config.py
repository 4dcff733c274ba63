"""The choice of autoencoder, and of the device and type that it computes with."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from latentflow.base.options import Options, option

DEFAULT_VAE = "stabilityai/sd-vae-ft-mse"
VAE_CONFIGS = ("sd", "sdxl", "sd3", "flux")
WeightsFrom: TypeAlias = Literal["auto", "pretrained", "bundled"]


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """The choice of autoencoder, and of the device and type that it computes with."""

    vae: str | None = option(
        None,
        "Autoencoder: a hub name repo[:subfolder][@revision], a folder, a .safetensors file, or bundled. If it can't "
        "be loaded, the run fails; only the default falls back on the bundled one.",
        metavar="NAME",
        shown_default=DEFAULT_VAE,
        names_file=True,
    )
    vae_config: str | None = option(
        None,
        f"Scale and shift of the file of `vae`: {', '.join(VAE_CONFIGS)}, or the path of its config.json.",
        metavar="NAME",
        shown_default="the config.json in its folder, else by its tensors",
        names_file=True,
    )
    weights: WeightsFrom = option(
        "auto",
        "auto: the published weights if they are cached or can be downloaded, else the bundled ones; pretrained: the "
        "published ones or an error; bundled: never use the network.",
        choices=get_args(WeightsFrom),
    )
    device: str = option("auto", "Device: auto, cpu, cuda[:n] or mps.", metavar="DEVICE", affects="nothing")
    dtype: str = option(
        "auto",
        "Data type the autoencoder computes in; auto: bfloat16 where it is measured not to be slower, else float32. "
        "Latents and losses are always float32.",
        choices=("auto", "float32", "bfloat16"),
    )
