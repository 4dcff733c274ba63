"""The files of Wan's and Qwen-Image's autoencoders as their authors named the tensors: names and config for diffusers'
class. Costs no torch."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

# Wan-Video/Wan2.2, wan/modules/vae2_2.py: the latents of 48 channels; those of 16 are the defaults of the class.
MEAN_48 = [
    *(-0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891),
    *(0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502),
    *(-0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723),
    *(-0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667),
]
STD_48 = [
    *(0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901),
    *(0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659),
    *(0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944),
    *(0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744),
]
KNOWN = (16, 48)  # channels of latents whose statistics are known
_PARTS = (
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"^(encoder|decoder)\.conv1\.", r"\1.conv_in."),
    (r"\.head\.0\.", ".norm_out."),
    (r"\.head\.2\.", ".conv_out."),
    (r"\.middle\.1\.", ".mid_block.attentions.0."),
    (r"\.middle\.0\.", ".mid_block.resnets.0."),
    (r"\.middle\.2\.", ".mid_block.resnets.1."),
    (r"\.residual\.0\.", ".norm1."),
    (r"\.residual\.2\.", ".conv1."),
    (r"\.residual\.3\.", ".norm2."),
    (r"\.residual\.6\.", ".conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
)


def is_wan(names: Iterable[str]) -> bool:
    """Tell whether tensors have the authors' names."""
    return {"conv1.weight", "conv2.weight", "encoder.conv1.weight", "decoder.head.2.weight"} <= set(names)


def structure(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The config of AutoencoderKLWan for tensors of these shapes; raises `LookupError` or `ValueError` for others."""
    nested = any(re.match(r"encoder\.downsamples\.\d+\.downsamples\.", name) for name in shapes)
    stages = _nested_stages(shapes) if nested else _flat_stages(shapes)
    base, pictures = shapes["encoder.conv1.weight"][:2]
    channels = shapes["conv2.weight"][0]
    patch = 2 if pictures == 12 else 1
    config = {
        "_class_name": "AutoencoderKLWan",
        "base_dim": base,
        "decoder_base_dim": shapes["decoder.head.2.weight"][1],
        "z_dim": channels,
        "dim_mult": [width // base for width, _, _ in stages],
        "num_res_blocks": stages[0][1],
        "temperal_downsample": [timed for _, _, timed in stages[:-1]],
        "is_residual": nested,
        "in_channels": pictures,
        "out_channels": shapes["decoder.head.2.weight"][0],
        "patch_size": patch if patch > 1 else None,
        "scale_factor_spatial": 2 ** (len(stages) - 1) * patch,
    }
    return config | ({"latents_mean": MEAN_48, "latents_std": STD_48} if channels == 48 else {})


def _nested_stages(shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[int, int, bool]]:
    """The width of each stage of the encoder, the number of its blocks, and whether it halves time."""
    found: dict[int, tuple[int, int, bool]] = {}
    for name, shape in shapes.items():
        match = re.match(
            r"encoder\.downsamples\.(\d+)\.downsamples\.(\d+)\.(residual\.6\.weight|time_conv\.weight)", name
        )
        if match:
            width, count, timed = found.get(int(match[1]), (0, 0, False))
            if match[3].startswith("time"):
                found[int(match[1])] = width, count, True
            else:
                found[int(match[1])] = shape[0], count + 1, timed
    return [found[stage] for stage in range(len(found))]


def _flat_stages(shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[int, int, bool]]:
    """As `_nested_stages`, of layers in one row, where resampling ends a stage."""
    stages, width, count = [], 0, 0
    for place in range(1 + max(int(name.split(".")[2]) for name in shapes if name.startswith("encoder.downsamples."))):
        layer = f"encoder.downsamples.{place}"
        if f"{layer}.resample.1.weight" in shapes:
            stages.append((width, count, f"{layer}.time_conv.weight" in shapes))
            count = 0
        else:
            width, count = shapes[f"{layer}.residual.6.weight"][0], count + 1
    return [*stages, (width, count, False)]


def diffusers_name(name: str, config: Mapping[str, Any]) -> str:
    """The name that diffusers' class has for a tensor."""
    blocks = int(config["num_res_blocks"])
    for pattern, new in _PARTS:
        name = re.sub(pattern, new, name)
    name = re.sub(
        r"encoder\.downsamples\.(\d+)\.downsamples\.(\d+)\.",
        lambda match: f"encoder.down_blocks.{match[1]}." + _place(int(match[2]), blocks, "downsampler"),
        name,
    )
    name = name.replace("encoder.downsamples.", "encoder.down_blocks.")
    name = re.sub(
        r"decoder\.upsamples\.(\d+)\.upsamples\.(\d+)\.",
        lambda match: f"decoder.up_blocks.{match[1]}." + _place(int(match[2]), blocks + 1, "upsampler"),
        name,
    )
    return re.sub(r"decoder\.upsamples\.(\d+)\.", lambda match: _flat(int(match[1]), blocks + 1), name)


def _place(place: int, blocks: int, last: str) -> str:
    return f"resnets.{place}." if place < blocks else f"{last}."


def _flat(place: int, blocks: int) -> str:
    stage, within = divmod(place, blocks + 1)
    return f"decoder.up_blocks.{stage}." + _place(within, blocks, "upsamplers.0")
