"""The autoencoder in a file: its class, shape and scale, from a config.json or from the tensors themselves.

Costs no torch: the header of a .safetensors file is JSON.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from latentflow.base.errors import WeightsError
from latentflow.models.families import FAMILIES
from latentflow.models.headers import DTYPES, TensorInfo, read_header
from latentflow.models.served import SERVED, read_config

DIFFUSERS, ORIGINAL, TAESD = "diffusers", "original latent diffusion", "TAESD"  # naming schemes of tensors
PREFIXES = ("first_stage_model.", "vae.")  # of the autoencoder in a complete checkpoint
RENAMED = ("AutoencoderKL", "AutoencoderKLFlux2")  # classes that were published under original names
GROUPS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")  # the tensors of an AutoencoderKL


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The contents of an autoencoder's files.

    `config` is that of a diffusers class, empty if none is recognized; `names` tells the naming scheme of the tensors;
    `tensors` has them without the prefix of a complete checkpoint. `origin` says where scale and shift come from,
    `notice` is a remark on that for the user, and `problem` says what is missing before it can be loaded.
    """

    config: Mapping[str, Any]
    names: str
    tensors: Mapping[str, TensorInfo] = field(repr=False)
    origin: str = ""
    notice: str = ""
    problem: str = ""

    def facts(self) -> dict[str, str]:
        """Return the facts in words, by the names of the rows of a table."""
        values = list(self.tensors.values())
        wrong = [each.name for each in values if not each.is_finite()]
        found = {"class": str(self.config.get("_class_name", "not recognized")), "names": self.names}
        if self.config:
            found |= {"channels": _channels(self), "stride": _stride(self.config), "scale": _scale(self)}
        return found | {
            "dtype": ", ".join(sorted({DTYPES.get(each.dtype, each.dtype) for each in values})),
            "parameters": f"{sum(each.size for each in values):,}",
            "finite": f"no: {len(wrong)} of {len(values)} tensors, the first {wrong[0]}" if wrong else "yes",
        }


def identify(path: Path, files: Sequence[Path], vae_config: str | None = None) -> Layout:
    """Identify the weights in `files`, which belong to the folder or the lone file `path`.

    `vae_config` is one of `VAE_CONFIGS` or the path of a config.json; without it a config.json in the folder counts,
    beside a lone file if it is that file's, and then what the tensors show. Raises `WeightsError` for files that can't
    be read and for a config that is wrong; a layout that isn't recognized has a `problem`.
    """
    tensors, metadata = _read(path, files)
    own, names = _own_tensors(tensors)
    bare = Layout(config=_structure(own, names), names=names, tensors=own)
    if vae_config is not None and vae_config not in FAMILIES:
        return _by_config(bare, read_config(Path(vae_config).expanduser()), vae_config, tensors)
    if vae_config is not None:
        return _as_family(bare, path, vae_config)
    beside = (path if path.is_dir() else path.parent) / "config.json"
    if not beside.is_file():
        if path.is_dir() and names != TAESD:
            raise WeightsError(f"The folder {path} has no config.json.", "Name the folder that holds one.")
        return _recognized(bare, path, tensors, metadata)
    if path.is_dir():
        return _by_config(bare, read_config(beside), "config.json", tensors)
    return _beside_file(bare, path, beside, _recognized(bare, path, tensors, metadata))


def _by_config(bare: Layout, config: Mapping[str, Any], origin: str, tensors: Mapping[str, TensorInfo]) -> Layout:
    """A layout of that config. Only the classes that the original code had may have its names; others have such names
    of their own."""
    if bare.names == ORIGINAL and config["_class_name"] not in RENAMED:
        bare = replace(bare, names=DIFFUSERS, tensors=tensors)
    return replace(bare, config=config, origin=origin)


def _beside_file(bare: Layout, path: Path, beside: Path, recognized: Layout) -> Layout:
    """A lone file's layout by the config.json in its folder, which may belong to something else there."""
    try:
        config = read_config(beside)
    except WeightsError:
        if recognized.problem:
            raise
        config = {}
    told = bare.config.keys() & {"_class_name", "latent_channels", "block_out_channels", "encoder_block_out_channels"}
    if config and all(key not in config or config[key] == bare.config[key] for key in told):
        return replace(bare, config=config, origin="config.json")
    ignored = f"{beside} is not the config of {path.name} and is ignored."
    return replace(recognized, notice=f"{ignored} {recognized.notice}".strip())


def _read(path: Path, files: Sequence[Path]) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """The tensors of one file, or of TAESD's two. TAESD's names don't tell encoder from decoder."""
    from safetensors import SafetensorError

    tensors: dict[str, TensorInfo] = {}
    metadata: dict[str, str] = {}
    for file in files:
        try:
            found, more = read_header(file)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"The weights at {path} are truncated or not safetensors: {error}.") from error
        half = _taesd_half(found)
        tensors |= {f"{half}{name}": info for name, info in found.items()}
        metadata |= more
    return tensors, metadata


def _taesd_half(tensors: Mapping[str, TensorInfo]) -> str:
    """The half of a TAESD that a file is, as a prefix: an encoder's first convolution takes a picture, a decoder's
    last makes one."""
    if not tensors or not all(re.match(r"\d+\.", name) for name in tensors):
        return ""
    first = min((info for info in tensors.values() if len(info.shape) == 4), key=_index, default=None)
    return "encoder." if first is not None and first.shape[1] == 3 else "decoder."


def _index(info: TensorInfo) -> int:
    return int(info.name.split(".")[0])


def _own_tensors(tensors: Mapping[str, TensorInfo]) -> tuple[dict[str, TensorInfo], str]:
    """The tensors of the autoencoder alone without their prefix, and their naming scheme."""
    prefix = next((each for each in PREFIXES if any(name.startswith(f"{each}decoder.") for name in tensors)), "")
    own = {name.removeprefix(prefix): info for name, info in tensors.items() if name.startswith(prefix)}
    if any(re.match(r"encoder\.down\.\d", name) for name in own):
        return {name: info for name, info in own.items() if name.startswith(GROUPS)}, ORIGINAL
    renamed = _taesd_names(own)
    return (renamed, TAESD) if renamed else (own, DIFFUSERS)


def _taesd_names(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """TAESD's tensors as diffusers calls them, or nothing: its decoder begins with a clamp, which diffusers' layers
    don't count."""
    matches = {name: re.fullmatch(r"(?:taesd_)?(encoder|decoder)\.(\d+)\.(.+)", name) for name in tensors}
    found = {name: match for name, match in matches.items() if match}
    first = min((int(match[2]) for match in found.values() if match[1] == "decoder"), default=0)
    return {
        f"{match[1]}.layers.{int(match[2]) - (first if match[1] == 'decoder' else 0)}.{match[3]}": tensors[name]
        for name, match in found.items()
    }


def _structure(tensors: Mapping[str, TensorInfo], names: str) -> dict[str, Any]:
    """The config of a class that can be told from its tensors, but for scale and shift; empty for others."""
    try:
        return _kl_structure(tensors, names) or _tiny_structure(tensors)
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


def _tiny_structure(tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    if "encoder.layers.0.weight" not in tensors or "decoder.layers.0.weight" not in tensors:
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


def _recognized(bare: Layout, path: Path, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> Layout:
    """A layout without a config.json, with the scale and the shift that its family has."""
    if not bare.config:
        half = bare.names == TAESD
        what = "one half of a TAESD, without the other beside it" if half else "no autoencoder that its tensors tell"
        remedy = "" if half else "Give its config: `vae_config` config.json"
        return replace(bare, problem=f"{path} holds {what}. {remedy}".strip())
    if bare.config["_class_name"] == "AutoencoderTiny":
        return replace(bare, origin="TAESD's latents are scaled already")
    candidates = [name for name in FAMILIES if not _misfit(bare.config, name)]
    if not candidates or "edm_mean" in tensors:  # Playground 2.5 has SDXL's shape and statistics of its own
        shape = f"{bare.config['latent_channels']} channels and stride {_stride(bare.config)}"
        unknown = f"{path} holds an autoencoder of {shape}; its scale isn't known."
        return replace(bare, problem=f"{unknown} Give its config: `vae_config` config.json")
    return _in_a_family(bare, path, candidates, *_family(candidates, path, tensors, metadata))


def _family(
    candidates: Sequence[str], path: Path, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]
) -> tuple[str | None, str]:
    """The family of an AutoencoderKL among those of its shape, and by what it is told; None if nothing tells."""
    company = [name for name in candidates if any(FAMILIES[name].company.match(each) for each in tensors)]
    kind = metadata.get("modelspec.architecture", "").lower()
    said = [name for name in candidates if FAMILIES[name].hint.search(kind)]
    called = [name for name in candidates if FAMILIES[name].hint.search(path.stem.lower())]
    for found, reason in ((company, "by its other weights"), (said, "by its metadata"), (called, "by its name")):
        if len(found) == 1:
            return found[0], reason
    return ("sd", "as nothing says otherwise") if "sd" in candidates else (None, "")


def _in_a_family(bare: Layout, path: Path, candidates: Sequence[str], name: str | None, reason: str) -> Layout:
    """A layout of the family that was told among candidates, or with the question which it is."""
    others = " or ".join(each for each in candidates if each != name)
    if name is None:
        whose = " or ".join(FAMILIES[each].title for each in candidates)
        same = f"{path} may be the autoencoder of {whose}, which differ in scale and shift."
        return replace(bare, problem=f"{same} Say which: `vae_config` {others}")
    family = FAMILIES[name]
    layout = replace(_as_family(bare, path, name), origin=f"{family.title}, {reason}")
    taken = f"{path.name} is taken for an autoencoder of {family.channels} channels, scale {_scale(layout)}."
    return replace(layout, notice=f"{taken} If that is wrong: `vae_config` {others}")


def _as_family(bare: Layout, path: Path, name: str) -> Layout:
    """A layout with the scale and the shift of a family; raises `WeightsError` where it has another shape."""
    wrong, family = _misfit(bare.config, name), FAMILIES[name]
    if wrong:
        raise WeightsError(f"`vae_config` {name} doesn't fit {path}, which holds {wrong}.")
    config = {**bare.config, "scaling_factor": family.scale, "shift_factor": family.shift}
    return replace(bare, config=config, origin=f"`vae_config` {name}")


def _misfit(config: Mapping[str, Any], name: str) -> str:
    """Describe why an autoencoder can't belong to a family; an empty string if it can."""
    family = FAMILIES[name]
    if config.get("_class_name") != "AutoencoderKL":
        return f"an {config['_class_name']}" if config else "no AutoencoderKL"
    if (config["latent_channels"], _stride(config)) != (family.channels, "8"):
        return f"{config['latent_channels']} channels at stride {_stride(config)}"
    if config["use_quant_conv"] != family.has_quant_conv:
        return "a quant_conv" if config["use_quant_conv"] else "no quant_conv"
    return ""


def _stride(config: Mapping[str, Any]) -> str:
    served = SERVED[config["_class_name"]]
    return str(served.stride(config)) if isinstance(config.get(served.widths), list) else "the default of its class"


def _channels(layout: Layout) -> str:
    first = layout.tensors.get("decoder.conv_in.weight") or layout.tensors.get("decoder.layers.0.weight")
    known = str(first.shape[1]) if first and len(first.shape) == 4 else "the default of its class"
    return str(layout.config.get("latent_channels", known))


def _scale(layout: Layout) -> str:
    """Scale and shift, and where they come from."""
    config = layout.config
    if layout.problem:
        return "not known"
    if config.get("latents_mean") is not None:
        return f"one a channel ({layout.origin})"
    scale = config.get("scaling_factor", SERVED[config["_class_name"]].scale)
    shift = config.get("shift_factor") or 0
    origin = layout.origin if "scaling_factor" in config or layout.names == TAESD else "the default of its class"
    return f"{scale}{f', shift {shift}' if shift else ''} ({origin})"


def diffusers_names(values: dict[str, Any], layout: Layout, config: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a layout under the names of diffusers' classes today, for a model of this complete config."""
    if layout.names == ORIGINAL:
        from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

        converted: dict[str, Any] = convert_ldm_vae_checkpoint(values, config)
        return converted
    return {_new_name(name): value for name, value in values.items()}


def _new_name(name: str) -> str:
    """Attention had other names in diffusers until 2023, in AutoencoderKL among others."""
    if ".attentions." in name:
        for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")):
            name = name.replace(f".{old}.", f".{new}.")
    return name
