"""The autoencoders that are served: classes of diffusers, and what was published of them without a config."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentflow.base.errors import WeightsError
from latentflow.base.registry import Registry, find_object, record_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedClass:
    """A diffusers autoencoder that is served: its `module`, with a dot before one of diffusers.models.autoencoders, the
    name `widths` of the config key that gives the stride, the classes of its decoder's `blocks` (no block holds
    another), whether it encodes to a distribution, and the scale of a config that states none."""

    module: str
    widths: str
    blocks: frozenset[str]
    has_posterior: bool
    scale: float = 1.0

    def find(self, name: str) -> Any:
        """The class, imported."""
        return find_object(f"{self.module}:{name}", "diffusers.models.autoencoders")

    def stride(self, config: Mapping[str, Any]) -> int:
        """Pixels a latent cell, by the config of a model."""
        return 2 ** (len(config[self.widths]) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """An AutoencoderKL of stride 8 that was published: `scale` and `shift`, which no tensor shows, and what tells it
    from others of its shape: a `hint` in a file's name or metadata, or `company`, the other weights of a checkpoint."""

    title: str
    channels: int
    scale: float
    shift: float = 0.0
    hint: re.Pattern[str]
    company: re.Pattern[str]

    @property
    def has_quant_conv(self) -> bool:
        """True if it has the 1 × 1 convolutions around the latent; autoencoders of 16 channels left them out."""
        return self.channels == 4


_KL_BLOCKS = frozenset({"ResnetBlock2D", "Upsample2D", "Attention"})
_SERVED = {
    "AutoencoderKL": ServedClass(
        module=".autoencoder_kl", widths="block_out_channels", blocks=_KL_BLOCKS, has_posterior=True, scale=0.18215
    ),
    "AsymmetricAutoencoderKL": ServedClass(
        module=".autoencoder_asym_kl",
        widths="down_block_out_channels",
        blocks=_KL_BLOCKS,
        has_posterior=True,
        scale=0.18215,
    ),
    "AutoencoderTiny": ServedClass(
        module=".autoencoder_tiny",
        widths="encoder_block_out_channels",
        blocks=frozenset({"AutoencoderTinyBlock", "NormalizedTinyBlock"}),
        has_posterior=False,
    ),
    "AutoencoderDC": ServedClass(
        module=".autoencoder_dc",
        widths="encoder_block_out_channels",
        blocks=frozenset({"ResBlock", "EfficientViTBlock", "DCUpBlock2d"}),
        has_posterior=False,
    ),
}
SERVED = Registry("autoencoders", _SERVED, record_of(ServedClass))
# Scale and shift as the authors' own code states them; the other weights by the names that diffusers knows models by.
FAMILIES = {
    "sd": Family(  # CompVis/stable-diffusion, configs/stable-diffusion/v1-inference.yaml: scale_factor
        title="Stable Diffusion 1 and 2",
        channels=4,
        scale=0.18215,
        hint=re.compile(r"stable-diffusion-v|ft-mse|ft-ema"),
        company=re.compile(r"cond_stage_model\."),
    ),
    "sdxl": Family(  # Stability-AI/generative-models, configs/inference/sd_xl_base.yaml: scale_factor
        title="SDXL",
        channels=4,
        scale=0.13025,
        hint=re.compile(r"xl"),
        company=re.compile(r"conditioner\."),
    ),
    "sd3": Family(  # Stability-AI/sd3.5, sd3_impls.py: SD3LatentFormat
        title="Stable Diffusion 3",
        channels=16,
        scale=1.5305,
        shift=0.0609,
        hint=re.compile(r"sd_?3|stable-diffusion-3"),
        company=re.compile(r"model\.diffusion_model\.joint_blocks\."),
    ),
    "flux": Family(  # black-forest-labs/flux, src/flux/util.py: AutoEncoderParams; published there as ae.safetensors
        title="FLUX.1",
        channels=16,
        scale=0.3611,
        shift=0.1159,
        hint=re.compile(r"flux|^ae$"),
        company=re.compile(r"model\.diffusion_model\.double_blocks\."),
    ),
}


def read_config(path: Path) -> dict[str, Any]:
    """The config.json of an autoencoder that is served; raises `WeightsError` for another or a broken one."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} can't be read: {error}.") from error
    if not isinstance(config, dict) or "_class_name" not in config:
        raise WeightsError(f"{path} names no class: it is not the config of a diffusers autoencoder.")
    if config["_class_name"] not in SERVED:
        raise WeightsError(f"{config['_class_name']} is not served; the autoencoders served are {', '.join(SERVED)}.")
    channels = [each for each in (config.get("in_channels", 3), config.get("out_channels", 3)) if each != 3]
    if channels:
        raise WeightsError(f"The autoencoder of {path} is for pictures of {channels[0]} channels; 3 are served.")
    return config
