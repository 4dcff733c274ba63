"""The autoencoder in a file: its class, shape and scale, from a config.json or from the tensors themselves.

Costs no torch: the header of a .safetensors file is JSON.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from latentflow.base.errors import WeightsError
from latentflow.models.families import FAMILIES
from latentflow.models.headers import DTYPES, TensorInfo, read_header
from latentflow.models.served import SERVED, read_config
from latentflow.models.structures import DIFFUSERS, ORIGINAL, TAESD, WAN, new_name, structure_of
from latentflow.models.wan import KNOWN, diffusers_name, is_wan

PREFIXES = ("first_stage_model.", "vae.")  # of the autoencoder in a complete checkpoint
RENAMED = ("AutoencoderKL", "AutoencoderKLFlux2")  # classes that were published under original names
GROUPS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "bn.")  # the tensors of a KL autoencoder


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
        if self.config.get("_class_name") in SERVED:
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
    bare = Layout(config=structure_of(own, names), names=names, tensors=own)
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


def described(path: Path, files: Sequence[Path], problem: str) -> Layout:
    """A layout of files that can't be loaded, with the class that a config.json there names."""
    own, names = _own_tensors(_read(path, files)[0])
    try:
        config = json.loads(((path if path.is_dir() else path.parent) / "config.json").read_text(encoding="utf-8"))
        stated = {"_class_name": str(config["_class_name"])}
    except (OSError, ValueError, LookupError, TypeError):
        stated = {}
    return Layout(config=stated, names=names, tensors=own, problem=problem)


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
        half = _taesd_half(found, file.stem)
        tensors |= {f"{half}{name}": info for name, info in found.items()}
        metadata |= more
    return tensors, metadata


def _taesd_half(tensors: Mapping[str, TensorInfo], stem: str) -> str:
    """The half of a TAESD that a file is, as a prefix, by its name, or else by its tensors: an encoder's first
    convolution takes a picture, a decoder's last makes one."""
    if not tensors or not all(re.match(r"\d+\.", name) for name in tensors):
        return ""
    named = re.search("encoder|decoder", stem)
    if named:
        return f"{named[0]}."
    first = min((info for info in tensors.values() if len(info.shape) == 4), key=_index, default=None)
    return "encoder." if first is not None and first.shape[1] == 3 else "decoder."


def _index(info: TensorInfo) -> int:
    return int(info.name.split(".")[0])


def _own_tensors(tensors: Mapping[str, TensorInfo]) -> tuple[dict[str, TensorInfo], str]:
    """The tensors of the autoencoder alone without their prefix, and their naming scheme."""
    prefix = next((each for each in PREFIXES if any(name.startswith(f"{each}decoder.") for name in tensors)), "")
    own = {name.removeprefix(prefix): info for name, info in tensors.items() if name.startswith(prefix)}
    if any(re.match(r"encoder\.down\.\d", name) for name in own):
        # FLUX.2's authors have these two in the encoder and in the decoder
        own = {re.sub(r"^(encoder|decoder)\.((post_)?quant_conv)", r"\2", name): info for name, info in own.items()}
        return {name: info for name, info in own.items() if name.startswith(GROUPS)}, ORIGINAL
    if is_wan(own):
        return own, WAN
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


def _recognized(bare: Layout, path: Path, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> Layout:
    """A layout without a config.json, with the scale and the shift that its family has."""
    if not bare.config:
        halves = {name.partition(".")[0] for name in bare.tensors} if bare.names == TAESD else set()
        what, remedy = "no autoencoder that its tensors tell.", "Give its config: `vae_config` config.json"
        if len(halves) == 1:
            what, remedy = "one half of a TAESD, without the other beside it.", ""
        elif halves:
            what, remedy = "a TAESD for patches or with alpha.", "Use the large autoencoder that it approximates."
        return replace(bare, problem=f"{path} holds {what} {remedy}".strip())
    if bare.config["_class_name"] == "AutoencoderKLFlux2":
        return replace(bare, origin="FLUX.2, by the statistics in its weights")
    if bare.names == WAN:
        return _as_wan(bare, path)
    if bare.config["_class_name"] == "AutoencoderTiny":
        return replace(bare, origin="TAESD's latents are scaled already")
    candidates = [name for name in FAMILIES if not _misfit(bare.config, name)]
    if not candidates or "edm_mean" in tensors:  # Playground 2.5 has SDXL's shape and statistics of its own
        shape = f"{bare.config['latent_channels']} channels and stride {_stride(bare.config)}"
        unknown = f"{path} holds an autoencoder of {shape}; its scale isn't known."
        return replace(bare, problem=f"{unknown} Give its config: `vae_config` config.json")
    return _in_a_family(bare, path, candidates, *_family(candidates, path, tensors, metadata))


def _as_wan(bare: Layout, path: Path) -> Layout:
    """A layout of Wan's or Qwen-Image's, which have the same statistics for 16 channels."""
    channels = bare.config["z_dim"]
    if channels in KNOWN:
        return replace(bare, origin="Wan 2.2" if channels == 48 else "Wan 2.1 and Qwen-Image, which share it")
    unknown = f"{path} holds an autoencoder of Wan's kind with {channels} channels; its scale isn't known."
    return replace(bare, problem=f"{unknown} Give its config: `vae_config` config.json")


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
    try:
        return str(SERVED[config["_class_name"]].stride(config))
    except (LookupError, TypeError):  # a config states what differs from the class alone
        return "the default of its class"


def _channels(layout: Layout) -> str:
    if layout.config["_class_name"] == "AutoencoderKLFlux2" and "bn.running_mean" in layout.tensors:
        return str(layout.tensors["bn.running_mean"].shape[0])
    stated = layout.config.get(SERVED[layout.config["_class_name"]].channels)
    if stated is not None:
        return str(stated)
    first = layout.tensors.get("decoder.conv_in.weight") or layout.tensors.get("decoder.layers.0.weight")
    known = str(first.shape[1]) if first and len(first.shape) == 4 else "the default of its class"
    return known


def _scale(layout: Layout) -> str:
    """Scale and shift, and where they come from."""
    config = layout.config
    if layout.problem:
        return "not known"
    in_weights = {"bn.running_mean", "latents_mean", "_latents_mean"} & layout.tensors.keys()
    if config.get("latents_mean") is not None or in_weights or layout.names == WAN:
        return f"one a channel ({'in its weights' if in_weights else layout.origin})"
    scale = config.get("scaling_factor", SERVED[config["_class_name"]].scale)
    shift = config.get("shift_factor") or 0
    origin = layout.origin if "scaling_factor" in config or layout.names == TAESD else "the default of its class"
    return f"{scale}{f', shift {shift}' if shift else ''} ({origin})"


def diffusers_names(values: dict[str, Any], layout: Layout, config: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a layout under the names of diffusers' classes today, for a model of this complete config."""
    if layout.names == WAN:
        return {diffusers_name(name, config): value for name, value in values.items()}
    if layout.names == ORIGINAL:
        from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

        converted: dict[str, Any] = convert_ldm_vae_checkpoint(values, config)
        return converted | {name: value for name, value in values.items() if name.startswith("bn.")}
    return {new_name(name): value for name, value in values.items()}
