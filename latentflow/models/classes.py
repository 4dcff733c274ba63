"""The classes of diffusers' autoencoders, a record each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from latentflow.base.registry import find_object

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedClass:
    """A diffusers autoencoder that is served: its `module`, with a dot before one of diffusers.models.autoencoders.

    The stride is told by `widths`, the config key of a list with an entry for each halving and one more, or by `cells`,
    a function of the config. `channels` is the config key of the latent's channels and `pictures` are those of the
    picture's, which count the channels of patches if it is `patched`, `patch_size` being their side. `blocks` are the
    classes of the decoder's blocks, none of which holds another. `has_posterior` says that it encodes to a
    distribution, `scale` is that of a config that states none. `adapter`, a name in `latentflow.models.adapters`, makes
    an autoencoder of still pictures of a model that isn't one as it is. `used_by` names models that people know it by.
    """

    module: str
    widths: str = ""
    cells: Callable[[Config], int] | None = None
    channels: str = "latent_channels"
    pictures: tuple[str, ...] = ("in_channels", "out_channels")
    patched: bool = False
    blocks: frozenset[str]
    has_posterior: bool
    scale: float = 1.0
    adapter: str = ""
    used_by: str = ""

    def find(self, name: str) -> Any:
        """The class, imported."""
        return find_object(f"{self.module}:{name}", "diffusers.models.autoencoders")

    def stride(self, config: Config) -> int:
        """Pixels a latent cell, by the config of a model."""
        return int(self.cells(config)) if self.cells else 2 ** (len(config[self.widths]) - 1)

    def adapted(self, model: Any) -> Any:
        """A model of this class, or what makes an autoencoder of still pictures of it."""
        return find_object(f"latentflow.models.adapters:{self.adapter}", "")(model) if self.adapter else model


def _stated(key: str) -> Callable[[Config], int]:
    """Return the stride that a config states under a key."""
    return lambda config: config[key]


def _flux2(config: Config) -> int:
    return 2 ** (len(config["block_out_channels"]) - 1) * int(config["patch_size"][0])


def _qwen(config: Config) -> int:
    return 2 ** (len(config["dim_mult"]) - 1)


def _ltx(config: Config) -> int:
    given, halvings = config["spatial_compression_ratio"], config["spatio_temporal_scaling"]
    blocks = len(config["layers_per_block"]) - 1
    return given or config["patch_size"] * 2 ** (blocks * halvings if isinstance(halvings, bool) else sum(halvings))


_KL_BLOCKS = frozenset({"ResnetBlock2D", "Upsample2D", "Attention"})
CLASSES = {
    "AutoencoderKL": ServedClass(
        module=".autoencoder_kl",
        widths="block_out_channels",
        blocks=_KL_BLOCKS,
        has_posterior=True,
        scale=0.18215,
        used_by="Stable Diffusion 1 to 3, SDXL, FLUX.1, Z-Image",
    ),
    "AsymmetricAutoencoderKL": ServedClass(
        module=".autoencoder_asym_kl",
        widths="down_block_out_channels",
        blocks=_KL_BLOCKS,
        has_posterior=True,
        used_by="inpainting with Stable Diffusion",
        scale=0.18215,
    ),
    "AutoencoderTiny": ServedClass(
        module=".autoencoder_tiny",
        widths="encoder_block_out_channels",
        blocks=frozenset({"AutoencoderTinyBlock", "NormalizedTinyBlock"}),
        has_posterior=False,
        used_by="TAESD, TAEF1, TAEF2",
    ),
    "AutoencoderDC": ServedClass(
        module=".autoencoder_dc",
        widths="encoder_block_out_channels",
        blocks=frozenset({"ResBlock", "EfficientViTBlock", "DCUpBlock2d"}),
        has_posterior=False,
        used_by="SANA; the bundled one",
    ),
    "AutoencoderKLFlux2": ServedClass(
        module=".autoencoder_kl_flux2",
        cells=_flux2,
        blocks=_KL_BLOCKS,
        has_posterior=True,
        adapter="Packed",
        used_by="FLUX.2, also with its small decoder",
    ),
    "AutoencoderKLQwenImage": ServedClass(
        module=".autoencoder_kl_qwenimage",
        cells=_qwen,
        channels="z_dim",
        pictures=("input_channels",),
        blocks=frozenset({"QwenImageResidualBlock", "QwenImageAttentionBlock", "QwenImageResample"}),
        has_posterior=True,
        used_by="Qwen-Image and its edits, Krea 2",
        adapter="causal",
    ),
    "AutoencoderKLWan": ServedClass(
        module=".autoencoder_kl_wan",
        cells=_stated("scale_factor_spatial"),
        channels="z_dim",
        patched=True,
        blocks=frozenset({"WanResidualBlock", "WanAttentionBlock", "WanResample"}),
        has_posterior=True,
        used_by="Wan 2.1 and 2.2, Cosmos Predict 2",
        adapter="causal",
    ),
    "AutoencoderKLQwenImage21": ServedClass(
        module=".autoencoder_kl_qwenimage21",
        cells=_stated("scale_factor_spatial"),
        channels="z_dim",
        patched=True,
        blocks=frozenset({"QwenImage21ResidualBlock", "QwenImage21AttentionBlock", "QwenImage21Resample"}),
        has_posterior=True,
        used_by="Qwen-Image 2.1",
        adapter="causal",
    ),
    "AutoencoderKLHunyuanImage": ServedClass(
        module=".autoencoder_kl_hunyuanimage",
        cells=_stated("spatial_compression_ratio"),
        blocks=frozenset({"HunyuanImageResnetBlock", "HunyuanImageAttentionBlock", "HunyuanImageUpsample"}),
        has_posterior=True,
        used_by="HunyuanImage 2.1",
    ),
    "AutoencoderKLKVAE": ServedClass(
        module=".autoencoder_kl_kvae",
        widths="ch_mult",
        channels="z_channels",
        pictures=("in_channels",),
        blocks=frozenset({"KVAEResnetBlock2D", "KVAEPXSUpsample"}),
        has_posterior=True,
        used_by="KVAE",
    ),
    "AutoencoderRAE": ServedClass(
        module=".autoencoder_rae",
        cells=_stated("patch_size"),
        channels="encoder_hidden_size",
        pictures=("num_channels",),
        blocks=frozenset({"ViTMAELayer"}),
        has_posterior=False,
        used_by="representation autoencoders on DINOv2, SigLIP 2 or MAE",
        adapter="Tokens",
    ),
    "VQModel": ServedClass(
        module=".vq_model",
        widths="block_out_channels",
        blocks=_KL_BLOCKS,
        has_posterior=False,
        scale=0.18215,
        used_by="latent diffusion with a codebook, aMUSEd",
    ),
    "ConsistencyDecoderVAE": ServedClass(
        module=".consistency_decoder_vae",
        widths="encoder_block_out_channels",
        pictures=("encoder_in_channels",),
        blocks=frozenset({"ResnetBlock2D", "Attention"}),
        has_posterior=True,
        used_by="OpenAI's consistency decoder",
        scale=0.18215,
        adapter="Seeded",
    ),
    "AutoencoderKLTemporalDecoder": ServedClass(
        module=".autoencoder_kl_temporal_decoder",
        widths="block_out_channels",
        blocks=frozenset({"SpatioTemporalResBlock", "Upsample2D", "Attention"}),
        has_posterior=True,
        used_by="Stable Video Diffusion",
        scale=0.18215,
        adapter="SingleFrame",
    ),
    "AutoencoderKLLTXVideo": ServedClass(
        module=".autoencoder_kl_ltx",
        cells=_ltx,
        blocks=frozenset({"LTXVideoResnetBlock3d", "LTXVideoUpsampler3d"}),
        has_posterior=True,
        used_by="LTX-Video",
        adapter="Frame",
    ),
    "AutoencoderKLLTX2Video": ServedClass(
        module=".autoencoder_kl_ltx2",
        cells=_ltx,
        blocks=frozenset({"LTX2VideoResnetBlock3d", "LTX2VideoUpsampler3d"}),
        has_posterior=True,
        used_by="LTX-2",
        adapter="Frame",
    ),
    "AutoencoderKLHunyuanVideo": ServedClass(
        module=".autoencoder_kl_hunyuan_video",
        cells=_stated("spatial_compression_ratio"),
        blocks=frozenset({"HunyuanVideoResnetBlockCausal3D", "HunyuanVideoUpsampleCausal3D", "Attention"}),
        has_posterior=True,
        used_by="HunyuanVideo",
        scale=0.476986,
        adapter="Frame",
    ),
    "AutoencoderKLHunyuanVideo15": ServedClass(
        module=".autoencoder_kl_hunyuanvideo15",
        cells=_stated("spatial_compression_ratio"),
        blocks=frozenset({"HunyuanVideo15ResnetBlock", "HunyuanVideo15Upsample", "HunyuanVideo15AttnBlock"}),
        has_posterior=True,
        used_by="HunyuanVideo 1.5",
        scale=1.03682,
        adapter="SlicedFrame",
    ),
    "AutoencoderKLHunyuanImageRefiner": ServedClass(
        module=".autoencoder_kl_hunyuanimage_refiner",
        cells=_stated("spatial_compression_ratio"),
        blocks=frozenset(
            {"HunyuanImageRefinerResnetBlock", "HunyuanImageRefinerUpsampleDCAE", "HunyuanImageRefinerAttnBlock"}
        ),
        has_posterior=True,
        used_by="the refiner of HunyuanImage 2.1",
        scale=1.03682,
        adapter="Frame",
    ),
    "AutoencoderKLCogVideoX": ServedClass(
        module=".autoencoder_kl_cogvideox",
        widths="block_out_channels",
        blocks=frozenset({"CogVideoXResnetBlock3D", "CogVideoXUpsample3D"}),
        has_posterior=True,
        used_by="CogVideoX",
        scale=1.15258426,
        adapter="Frame",
    ),
    "AutoencoderKLCosmos": ServedClass(
        module=".autoencoder_kl_cosmos",
        cells=_stated("spatial_compression_ratio"),
        blocks=frozenset({"CosmosResnetBlock3d", "CosmosUpsample3d", "CosmosCausalAttention"}),
        has_posterior=False,
        used_by="Cosmos 1",
        adapter="Frame",
    ),
    "AutoencoderKLMagvit": ServedClass(
        module=".autoencoder_kl_magvit",
        widths="block_out_channels",
        blocks=frozenset({"EasyAnimateResidualBlock3D", "EasyAnimateUpsampler3D"}),
        has_posterior=True,
        used_by="EasyAnimate",
        scale=0.7125,
        adapter="Frame",
    ),
    "AutoencoderKLMochi": ServedClass(
        module=".autoencoder_kl_mochi",
        cells=lambda config: prod(config["spatial_expansions"]),
        pictures=("out_channels",),  # its encoder adds Fourier features to a picture
        blocks=frozenset({"MochiResnetBlock3D"}),
        has_posterior=True,
        used_by="Mochi 1",
        adapter="Frame",
    ),
    "AutoencoderKLKVAEVideo": ServedClass(
        module=".autoencoder_kl_kvae_video",
        widths="ch_mult",
        channels="z_channels",
        pictures=("out_ch",),
        blocks=frozenset(),  # they change a cache, so a second pass gives another result
        has_posterior=True,
        used_by="KVAE for videos",
        adapter="Frame",
    ),
}
