"""Lone files of FLUX.2, Wan and Qwen-Image under the names that their authors gave the tensors."""

import re

import pytest
import torch
from safetensors.torch import save_file
from standins import LONE_KL, TINY, ldm_names, model_files, random_model, taesd_names, write_folder

from latentflow.models.autoencoder import load_autoencoder
from latentflow.models.wan import MEAN_48
from latentflow.models.weights import layout_of, present

FLUX2 = {
    "_class_name": "AutoencoderKLFlux2",
    "block_out_channels": [32, 32],
    "decoder_block_out_channels": [32, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "layers_per_block": 1,
    "latent_channels": 32,
}
WAN_21 = {
    "_class_name": "AutoencoderKLWan",
    "base_dim": 4,
    "dim_mult": [1, 2, 2],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True],
    "scale_factor_spatial": 4,
}
WAN_22 = WAN_21 | {
    "base_dim": 8,
    "decoder_base_dim": 12,
    "z_dim": 48,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "dim_mult": [1, 2, 2],
    "scale_factor_spatial": 8,
    "latents_mean": [0.0] * 48,
    "latents_std": [1.0] * 48,
}
RESIDUAL = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6"}


def wan_names(state, blocks):
    """Tensors as Wan's code names them, from diffusers' names."""
    found = {}
    for name, values in state.items():
        name = re.sub(r"^quant_conv", "conv1", name)
        name = re.sub(r"^post_quant_conv", "conv2", name)
        for old, new in RESIDUAL.items():
            name = name.replace(f".{old}.", f".{new}.")
        name = name.replace(".conv_shortcut.", ".shortcut.").replace(".conv_in.", ".conv1.")
        name = name.replace(".norm_out.", ".head.0.").replace(".conv_out.", ".head.2.")
        name = name.replace("mid_block.resnets.0", "middle.0").replace("mid_block.attentions.0", "middle.1")
        name = name.replace("mid_block.resnets.1", "middle.2")
        name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"downsamples.\1.downsamples.\2", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsampler\b", rf"downsamples.\1.downsamples.{blocks}", name)
        name = name.replace("down_blocks.", "downsamples.")
        found[name] = values
    return found


def flat_up(name, blocks):
    """The decoder's layers in one row, as Wan 2.1 has them."""
    match = re.match(r"decoder\.up_blocks\.(\d+)\.(resnets\.(\d+)|upsamplers\.0)\.(.*)", name)
    if not match:
        return name
    place = int(match[3]) if match[3] else blocks + 1
    return f"decoder.upsamples.{int(match[1]) * (blocks + 2) + place}.{match[4]}"


def nested_up(name, blocks):
    """The decoder's layers by stages, as Wan 2.2 has them."""
    name = re.sub(r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)", r"decoder.upsamples.\1.upsamples.\2", name)
    return re.sub(r"decoder\.up_blocks\.(\d+)\.upsampler\b", rf"decoder.upsamples.\1.upsamples.{blocks + 1}", name)


def random_flux2(config=FLUX2):
    model = random_model(config).requires_grad_(False)
    model.bn.running_mean.copy_(torch.linspace(-1, 1, 128))
    model.bn.running_var.copy_(torch.linspace(0.5, 2, 128))
    return model


@pytest.mark.parametrize("names", ["original", "diffusers"])
@pytest.mark.parametrize("inside", [True, False])
def test_flux2_in_a_lone_file(tmp_path, names, inside):
    model = random_flux2()
    state = model.state_dict()
    if names == "original":
        state = ldm_names(state, stages=2)
        if inside:  # as in black-forest-labs' own file
            moves = {"quant_conv": "encoder.quant_conv", "post_quant_conv": "decoder.post_quant_conv"}
            state = {re.sub(r"^(post_)?quant_conv", lambda m: moves[m[0]], name): each for name, each in state.items()}
    state.pop("bn.num_batches_tracked")
    save_file({name: each.contiguous() for name, each in state.items()}, tmp_path / "flux2-vae.safetensors")
    found = present(str(tmp_path / "flux2-vae.safetensors"))
    facts = layout_of(found).facts()
    assert (facts["class"], facts["channels"], facts["stride"]) == ("AutoencoderKLFlux2", "128", "4")
    assert facts["scale"] == "one a channel (in its weights)"
    autoencoder = load_autoencoder(found)
    torch.testing.assert_close(autoencoder.shift.flatten(), torch.linspace(-1, 1, 128))
    image = torch.rand(1, 3, 16, 16, generator=torch.manual_seed(1))
    raw = model.encode(image * 2 - 1).latent_dist.mode()
    expected = model.decode(raw).sample / 2 + 0.5
    torch.testing.assert_close(autoencoder.decode(autoencoder.encode(image)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "file", "channels", "stride", "shift"),
    [
        (WAN_21, "wan_2.1_vae.safetensors", "16", "4", -0.7571),
        (WAN_21, "qwen_image_vae.safetensors", "16", "4", -0.7571),
        (WAN_22, "wan2.2_vae.safetensors", "48", "8", MEAN_48[0]),
    ],
)
def test_wan_and_qwen_in_a_lone_file(tmp_path, config, file, channels, stride, shift):
    model = random_model(config).requires_grad_(False)
    up = nested_up if config.get("is_residual") else flat_up
    state = {up(name, 2): each for name, each in model.state_dict().items()}
    save_file(wan_names(state, 2), tmp_path / file)
    found = present(str(tmp_path / file))
    facts = layout_of(found).facts()
    assert (facts["class"], facts["channels"], facts["stride"]) == ("AutoencoderKLWan", channels, stride)
    assert "Wan 2" in facts["scale"]
    autoencoder = load_autoencoder(found)
    assert float(autoencoder.shift.flatten()[0]) == pytest.approx(shift)
    values = torch.randn(1, int(channels), 4, 4, generator=torch.manual_seed(1))
    expected = model.decode(values[:, :, None]).sample[:, :, 0]
    torch.testing.assert_close(autoencoder.model.decode(values).clamp(-1, 1), expected, rtol=1e-4, atol=1e-4)


def test_a_kl_file_is_none_of_flux2(tmp_path):
    save_file(random_model(LONE_KL).state_dict(), tmp_path / "vae.safetensors")
    assert layout_of(present(str(tmp_path / "vae.safetensors"))).facts()["class"] == "AutoencoderKL"


def test_a_taesd_with_alpha_is_told_as_such(tmp_path):
    files = taesd_names(random_model(TINY["tiny"]).state_dict())
    first = files["encoder"]["0.weight"]
    files["encoder"]["0.weight"] = torch.cat([first, first[:, :1]], dim=1).contiguous()
    for half, state in files.items():
        save_file(state, tmp_path / f"taeqi2_1_{half}.safetensors")
    layout = layout_of(present(str(tmp_path / "taeqi2_1_decoder.safetensors")))
    assert "a TAESD for patches or with alpha" in layout.problem


def test_inspect_tells_what_the_header_of_any_class_tells(tmp_path, invoke):
    files = model_files(TINY["kl"]) | {"config.json": b'{"_class_name": "AutoencoderOobleck"}'}
    code, out, _ = invoke("weights", "inspect", write_folder(tmp_path / "vae", files))
    assert code == 0 and "class       AutoencoderOobleck\n" in out
    assert "dtype       float32" in out and "AutoencoderOobleck is not served" in out
