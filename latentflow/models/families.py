"""Autoencoders that were published as lone files: scale and shift, which no tensor shows, and what tells them apart."""

import re
from dataclasses import dataclass


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
