"""The config of an autoencoder that its tensors tell, but for scale and shift. Costs no torch."""

import re
from collections.abc import Mapping
from typing import Any

from latentflow.models import wan
from latentflow.models.headers import TensorInfo

DIFFUSERS, ORIGINAL, TAESD, WAN = "diffusers", "original latent diffusion", "TAESD", "Wan"  # naming schemes of tensors


def structure_of(tensors: Mapping[str, TensorInfo], names: str) -> dict[str, Any]:
    """The config of a class that can be told from its tensors, but for scale and shift; empty for others."""
    try:
        if names == WAN:
            return wan.structure({name: info.shape for name, info in tensors.items()})
        found = _kl_structure(tensors, names) or _tiny_structure(tensors)
        return _flux2_structure(found, tensors, names) if "bn.running_mean" in tensors else found
    except (LookupError, ValueError):  # a tensor is missing or has another shape
        return {}


def _kl_structure(tensors: Mapping[str, TensorInfo], names: str) -> dict[str, Any]:
    places = r"down\.(\d+)\.block\.(\d+)" if names == ORIGINAL else r"down_blocks\.(\d+)\.resnets\.(\d+)"
    matches = [(re.fullmatch(rf"encoder\.{places}\.conv2\.weight", name), info.shape) for name, info in tensors.items()]
    widths = {(int(match[1]), int(match[2])): shape[0] for match, shape in matches if match and len(shape) == 4}
    if not widths or any("condition_encoder" in name for name in tensors):
        return {}
    stages, layers = (max(place) + 1 for place in zip(*widths))
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": tensors["encoder.conv_in.weight"].shape[1],
        "out_channels": tensors["decoder.conv_out.weight"].shape[0],
        "down_block_types": ["DownEncoderBlock2D"] * stages,
        "up_block_types": ["UpDecoderBlock2D"] * stages,
        "block_out_channels": [widths[stage, 0] for stage in range(stages)],
        "layers_per_block": layers,
        "latent_channels": tensors["decoder.conv_in.weight"].shape[1],
        "norm_num_groups": 32,
        "use_quant_conv": "quant_conv.weight" in tensors,
        "use_post_quant_conv": "post_quant_conv.weight" in tensors,
        "mid_block_add_attention": any(re.match(r"encoder\.mid\w*\.att", name) for name in tensors),
    }


def _flux2_structure(found: dict[str, Any], tensors: Mapping[str, TensorInfo], names: str) -> dict[str, Any]:
    """The config of FLUX.2's, whose decoder may have other widths than the encoder."""
    stages = range(len(found["block_out_channels"]))
    place = "up.{}.block.0" if names == ORIGINAL else "up_blocks.{}.resnets.0"
    widths = [tensors[f"decoder.{place.format(stage)}.conv2.weight"].shape[0] for stage in stages]
    more = {"decoder_block_out_channels": widths if names == ORIGINAL else widths[::-1], "patch_size": [2, 2]}
    return found | more | {"_class_name": "AutoencoderKLFlux2"}


def _tiny_structure(tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    if "encoder.layers.0.weight" not in tensors or "decoder.layers.0.weight" not in tensors:
        return {}
    if tensors["encoder.layers.0.weight"].shape[1] != 3 or _last(tensors).shape[0] != 3:  # alpha, or patches
        return {}
    config: dict[str, Any] = {"_class_name": "AutoencoderTiny"}
    for half in ("encoder", "decoder"):
        blocks: list[int] = []
        widths: list[int] = []
        places = sorted({int(name.split(".")[2]) for name in tensors if name.startswith(f"{half}.layers.")})
        for place in places:
            convolution = tensors.get(f"{half}.layers.{place}.weight")
            if convolution is None:
                blocks[-1] += 1
            else:
                blocks.append(0)
                widths.append(convolution.shape[0])
        config |= {f"{half}_block_out_channels": widths[:-1], f"num_{half}_blocks": blocks[:-1]}
    return config | {"latent_channels": tensors["decoder.layers.0.weight"].shape[1]}


def _last(tensors: Mapping[str, TensorInfo]) -> TensorInfo:
    """The weights that make the picture of a TAESD."""
    layers = [int(name.split(".")[2]) for name in tensors if re.fullmatch(r"decoder\.layers\.\d+\.weight", name)]
    return tensors[f"decoder.layers.{max(layers)}.weight"]


def new_name(name: str) -> str:
    """The name of a tensor today: attention had other names in diffusers until 2023, in AutoencoderKL among others."""
    if ".attentions." in name:
        for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")):
            name = name.replace(f".{old}.", f".{new}.")
    return name
