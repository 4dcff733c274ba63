"""The network of the bundled autoencoder: a deep-compression autoencoder of residual blocks, without attention.

It equals diffusers' AutoencoderDC for such a config, with the same classes and the same names of weights. Importing
diffusers takes longer than a run of one step. Source: Chen et al. 2024, arXiv:2410.10733.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

# The values of a diffusers config that this network has; they are diffusers' defaults.
_FIXED = {
    "in_channels": 3,
    "encoder_block_types": "ResBlock",
    "decoder_block_types": "ResBlock",
    "decoder_norm_types": "rms_norm",
    "decoder_act_fns": "silu",
    "decoder_conv_act_fn": "relu",
    "downsample_block_type": "pixel_unshuffle",
    "upsample_block_type": "pixel_shuffle",
    "encoder_out_shortcut": True,
    "decoder_in_shortcut": True,
}
_SIZES = {
    "latent_channels",
    "encoder_block_out_channels",
    "encoder_layers_per_block",
    "decoder_block_out_channels",
    "decoder_layers_per_block",
}
_UNUSED = {"attention_head_dim", "encoder_qkv_multiscales", "decoder_qkv_multiscales", "scaling_factor"}


def supports(config: Mapping[str, Any]) -> bool:
    """Tell whether a diffusers config, which gives the network's sizes, describes this class."""
    options = {key for key in config if not key.startswith("_")}
    fixed = all(config.get(key, value) == value for key, value in _FIXED.items())
    return config.get("_class_name") == "AutoencoderDC" and fixed and _SIZES <= options <= _SIZES | _UNUSED | {*_FIXED}


def load(path: Path, config: Mapping[str, Any]) -> "AutoencoderDC":
    """The network of a `config` that is supported, in float32 with the weights of a .safetensors file.

    Raises `SafetensorError` for a broken file and RuntimeError for weights that don't fit the config.
    """
    model = AutoencoderDC(config)
    model.load_state_dict(load_file(path))
    return model


class Encoded(NamedTuple):
    """The result of `AutoencoderDC.encode`."""

    latent: Tensor


class Decoded(NamedTuple):
    """The result of `AutoencoderDC.decode`."""

    sample: Tensor


class AutoencoderDC(nn.Module):
    """Encodes pictures (n, 3, h, w) in [-1, 1] to (n, c, rows, columns), and decodes these. h and w are multiples of
    the stride. The weights have no values before some are loaded."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        channels = config["latent_channels"]
        self.encoder = Encoder(channels, config["encoder_block_out_channels"], config["encoder_layers_per_block"])
        self.decoder = Decoder(channels, config["decoder_block_out_channels"], config["decoder_layers_per_block"])

    def encode(self, image: Tensor) -> Encoded:
        """The latent of a picture."""
        return Encoded(self.encoder(image))

    def decode(self, latent: Tensor) -> Decoded:
        """The picture of a latent."""
        return Decoded(self.decoder(latent))


class Encoder(nn.Module):
    """From a picture to a latent, which is a convolution of the last features plus the means of groups of them."""

    def __init__(self, channels: int, widths: Sequence[int], layers: Sequence[int]) -> None:
        super().__init__()
        self.conv_in = Conv(3, widths[0]) if layers[0] else DCDownBlock2d(3, widths[1], shortcut=False)
        stages = []
        for stage, (width, count) in enumerate(zip(widths, layers, strict=True)):
            blocks: list[nn.Module] = [ResBlock(width) for _ in range(count)]
            if count and stage + 1 < len(widths):
                blocks.append(DCDownBlock2d(width, widths[stage + 1]))
            stages.append(nn.Sequential(*blocks))
        self.down_blocks = nn.ModuleList(stages)
        self.conv_out = Conv(widths[-1], channels)
        self.group = widths[-1] // channels

    def forward(self, image: Tensor) -> Tensor:
        features = self.conv_in(image)
        for stage in self.down_blocks:
            features = stage(features)
        latent: Tensor = _group_means(features, self.group) + self.conv_out(features)
        return latent


class Decoder(nn.Module):
    """From a latent to a picture; the first features are a convolution of the latent plus copies of it."""

    def __init__(self, channels: int, widths: Sequence[int], layers: Sequence[int]) -> None:
        super().__init__()
        self.copies = widths[-1] // channels
        self.conv_in = Conv(channels, widths[-1])
        stages = []
        for stage, (width, count) in enumerate(zip(widths, layers, strict=True)):
            blocks: list[nn.Module] = [ResBlock(width) for _ in range(count)]
            if count and stage + 1 < len(widths):
                blocks.insert(0, DCUpBlock2d(widths[stage + 1], width))
            stages.append(nn.Sequential(*blocks))
        self.up_blocks = nn.ModuleList(stages)  # numbered from the picture, and so applied from the last to the first
        last = widths[0] if layers[0] else widths[1]
        self.norm_out = RMSNorm(last)
        self.conv_out = Conv(last, 3) if layers[0] else DCUpBlock2d(last, 3, shortcut=False)

    def forward(self, latent: Tensor) -> Tensor:
        features = self.conv_in(latent) + latent.repeat_interleave(self.copies, dim=1)
        for stage in reversed(self.up_blocks):
            features = stage(features)
        image: Tensor = self.conv_out(F.relu(self.norm_out(features)))
        return image


class ResBlock(nn.Module):
    """x + norm(conv(silu(conv(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = Conv(width, width)
        self.conv2 = Conv(width, width, bias=False)
        self.norm = RMSNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        residual: Tensor = self.norm(self.conv2(F.silu(self.conv1(features))))
        return residual + features


class DCDownBlock2d(nn.Module):
    """Half the side: each 2 × 2 pixels become channels, after a convolution; the shortcut averages groups of them."""

    def __init__(self, before: int, after: int, *, shortcut: bool = True) -> None:
        super().__init__()
        self.conv = Conv(before, after // 4)
        self.group = before * 4 // after if shortcut else 0

    def forward(self, features: Tensor) -> Tensor:
        smaller = F.pixel_unshuffle(self.conv(features), 2)
        return smaller + _group_means(F.pixel_unshuffle(features, 2), self.group) if self.group else smaller


class DCUpBlock2d(nn.Module):
    """Twice the side: each four channels become 2 × 2 pixels, after a convolution; the shortcut copies channels."""

    def __init__(self, before: int, after: int, *, shortcut: bool = True) -> None:
        super().__init__()
        self.conv = Conv(before, after * 4)
        self.copies = after * 4 // before if shortcut else 0

    def forward(self, features: Tensor) -> Tensor:
        larger = F.pixel_shuffle(self.conv(features), 2)
        return larger + F.pixel_shuffle(features.repeat_interleave(self.copies, 1), 2) if self.copies else larger


class Conv(nn.Conv2d):
    """A 3 × 3 convolution that keeps the size."""

    def __init__(self, before: int, after: int, *, bias: bool = True) -> None:
        super().__init__(before, after, 3, padding=1, bias=bias)

    def reset_parameters(self) -> None:
        """Draw no weights, which takes as long as to load them."""


class RMSNorm(nn.Module):
    """Divides the channels of every pixel by their root mean square, in float32; then scales and shifts each channel.
    Source: Zhang and Sennrich 2019, arXiv:1910.07467."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, features: Tensor) -> Tensor:
        square = features.float().square().mean(1, keepdim=True)
        normal = (features * torch.rsqrt(square + 1e-5)).to(self.weight.dtype)
        return normal * self.weight[:, None, None] + self.bias[:, None, None]


def _group_means(features: Tensor, group: int) -> Tensor:
    """The means (n, c / group, h, w) of groups of neighboring channels."""
    return features.unflatten(1, (-1, group)).mean(2)
