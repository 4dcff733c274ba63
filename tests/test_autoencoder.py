"""Every class that is served, with tiny random weights, against the diffusers model it wraps."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from standins import (
    LONE_16,
    LONE_KL,
    SD_VAE_CONFIG,
    TINY,
    TINY_KL,
    ldm_names,
    model_files,
    old_names,
    random_model,
    shapes_of,
    taesd_names,
    write_folder,
    write_header,
)

from latentflow.base.errors import InputError, WeightsError
from latentflow.models import autoencoder as module
from latentflow.models import deep_compression
from latentflow.models.autoencoder import LatentGeometry, load_autoencoder
from latentflow.models.layouts import identify
from latentflow.models.weight_files import WEIGHTS_FILE
from latentflow.models.weights import bundled, layout_of, present


def load(path):
    return load_autoencoder(present(str(path)))


def picture(height, width, count=1):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(height * width))


@pytest.fixture(scope="module", params=TINY)
def served(request, tmp_path_factory):
    """(autoencoder as loaded from a folder, the diffusers model its weights come from)."""
    config = TINY[request.param]
    model = random_model(config)
    folder = write_folder(tmp_path_factory.mktemp(request.param), model_files(config, model.state_dict()))
    return load(folder), model


def raw_latent(model, image):
    output = model.encode(image * 2 - 1)
    if hasattr(output, "latent_dist"):
        return output.latent_dist.mean
    return output.latents if hasattr(output, "latents") else output.latent


def as_pipelines_hold_it(config, values):
    """What the diffusers pipelines do between a VAE and a denoiser, written out channel by channel."""
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None:
        channels = [(values[:, i] - mean[i]) * config["scaling_factor"] / std[i] for i in range(len(mean))]
        return torch.stack(channels, dim=1)
    return (values - (config.get("shift_factor") or 0.0)) * config["scaling_factor"]


@torch.no_grad()
def test_the_declared_geometry_is_the_measured_one(served):
    autoencoder, model = served
    geometry = autoencoder.geometry
    values = raw_latent(model, picture(64, 32))
    assert values.shape[1:] == geometry.latent_shape(64, 32)
    assert (64 // values.shape[2], 32 // values.shape[3]) == (geometry.stride, geometry.stride)
    assert model.decode(values).sample.shape == (1, 3, 64, 32)


@torch.no_grad()
@pytest.mark.parametrize("height,width", [(37, 50), (1, 1), (3, 70), (16, 16)])
def test_a_picture_of_any_size_comes_back_at_its_size(served, height, width):
    autoencoder, _ = served
    latent = autoencoder.encode(picture(height, width, count=2))
    assert latent.shape == (2, *autoencoder.geometry.latent_shape(height, width))
    assert autoencoder.decode(latent, (height, width)).shape == (2, 3, height, width)


@torch.no_grad()
def test_latents_are_held_as_the_pipelines_hold_them(served):
    autoencoder, model = served
    image = picture(16, 32)
    values = raw_latent(model, image)
    latent = autoencoder.encode(image)
    torch.testing.assert_close(latent, as_pipelines_hold_it(dict(model.config), values), rtol=1e-4, atol=1e-5)
    decoded = model.decode(values).sample / 2 + 0.5
    torch.testing.assert_close(autoencoder.decode(latent), decoded, rtol=1e-3, atol=1e-4)


def test_the_gradient_of_a_picture_reaches_every_latent_value_and_no_weight(served):
    autoencoder, _ = served
    latent = torch.randn(1, *autoencoder.geometry.latent_shape(16, 16), generator=torch.Generator().manual_seed(1))
    latent.requires_grad_()
    # weighted, since a normalization leaves the plain mean without a gradient
    weights = picture(*autoencoder.decode(latent).shape[-2:])
    (autoencoder.decode(latent) * weights).sum().backward()
    assert torch.isfinite(latent.grad).all() and (latent.grad != 0).all()
    assert not autoencoder.model.training
    assert not [name for name, each in autoencoder.model.named_parameters() if each.requires_grad or each.grad]


@torch.no_grad()
def test_decoded_pictures_are_not_clamped(tmp_path):
    state = random_model(TINY_KL).state_dict()
    state["decoder.conv_out.bias"] = torch.tensor([9.0, -9.0, 0.0])
    decoded = load(write_folder(tmp_path, model_files(TINY_KL, state))).decode(torch.zeros(1, 4, 4, 4))
    assert decoded[:, 0].min() > 4 and decoded[:, 1].max() < -3


@torch.no_grad()
def test_a_batch_is_encoded_and_decoded_as_its_pictures_are(served):
    autoencoder, _ = served
    images = picture(16, 16, count=2)
    together = autoencoder.encode(images)
    for index in range(2):
        alone = autoencoder.encode(images[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            autoencoder.decode(together)[index : index + 1], autoencoder.decode(alone), rtol=1e-3, atol=1e-4
        )


def test_padding_mirrors_where_there_is_room_and_repeats_the_edge_elsewhere(served):
    autoencoder, _ = served
    stride = autoencoder.geometry.stride
    image = picture(2 * stride - 1, 1)
    padded = autoencoder.pad(image)
    assert padded.shape == (1, 3, 2 * stride, stride)
    assert torch.equal(padded[..., :-1, :1], image)
    assert torch.equal(padded[..., -1, 0], image[..., -2, 0])  # the row before the last, mirrored
    assert torch.equal(padded, padded[..., :1].expand_as(padded))  # the one column, repeated
    whole = picture(stride, 2 * stride)
    assert torch.equal(autoencoder.pad(whole), whole)


def test_the_latent_covers_the_picture_with_the_fewest_cells():
    geometry = LatentGeometry(channels=4, stride=8, scale=torch.ones(1, 1, 1, 1), shift=torch.zeros(1, 1, 1, 1))
    assert geometry.latent_shape(512, 384) == (4, 64, 48)
    assert geometry.latent_shape(1, 9) == (4, 1, 2)


@torch.no_grad()
@pytest.mark.parametrize("rename", [lambda state: state, old_names], ids=["new", "old"])
def test_a_folder_with_old_and_new_attention_names_holds_the_same_weights(tmp_path, rename):
    model = random_model(TINY_KL)
    folder = write_folder(tmp_path, model_files(TINY_KL, rename(model.state_dict())))
    latent = torch.randn(1, 4, 4, 4)
    autoencoder = load(folder)
    expected = model.decode(latent / 0.18215).sample / 2 + 0.5
    torch.testing.assert_close(autoencoder.decode(latent), expected, rtol=1e-4, atol=1e-5)
    assert float(autoencoder.geometry.scale) == pytest.approx(0.18215)


@torch.no_grad()
def test_half_precision_weights_are_used_in_full_precision(tmp_path):
    state = {name: values.half() for name, values in random_model(TINY_KL).state_dict().items()}
    autoencoder = load(write_folder(tmp_path, model_files(TINY_KL, state)))
    assert {each.dtype for each in autoencoder.model.parameters()} == {torch.float32}
    assert autoencoder.decode(torch.zeros(1, 4, 2, 2)).dtype == torch.float32


def single_files(config, stages):
    state = random_model(config).state_dict()
    ldm = ldm_names(state, stages)
    others = {"model.diffusion_model.input_blocks.0.0.weight": torch.full((1,), torch.nan)}  # not the autoencoder's
    checkpoint = {f"first_stage_model.{name}": values for name, values in ldm.items()} | others
    return {
        "diffusers": state,
        "old names": old_names(state),
        "ldm": ldm,
        "whole checkpoint": checkpoint,
        "whole checkpoint, vae.": {f"vae.{name}": values for name, values in old_names(state).items()} | others,
    }


def save_contiguous(state, path):
    save_file({key: values.contiguous() for key, values in state.items()}, path)
    return path


@torch.no_grad()
@pytest.mark.parametrize("names", ["diffusers", "old names", "ldm", "whole checkpoint", "whole checkpoint, vae."])
@pytest.mark.parametrize("beside", [True, False], ids=["config beside it", "alone"])
def test_a_single_file_under_any_names_holds_the_same_weights(tmp_path, names, beside):
    config = TINY_KL | {"scaling_factor": 0.25} if beside else LONE_KL
    if beside:
        (tmp_path / "config.json").write_text(json.dumps(config))
    autoencoder = load(save_contiguous(single_files(config, 2 if beside else 4)[names], tmp_path / "v.safetensors"))
    scale = 0.25 if beside else 0.18215
    assert float(autoencoder.geometry.scale) == pytest.approx(scale)
    image, latent, model = picture(16, 16), torch.randn(1, 4, 4, 4), random_model(config)
    expected = model.decode(latent / scale).sample / 2 + 0.5
    torch.testing.assert_close(autoencoder.decode(latent), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(autoencoder.encode(image), raw_latent(model, image) * scale, rtol=1e-4, atol=1e-5)


# Told by tensors


PUBLISHED_16 = SD_VAE_CONFIG | {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}


@pytest.mark.parametrize("config", [SD_VAE_CONFIG, PUBLISHED_16], ids=["4 channels", "16 channels"])
@pytest.mark.parametrize("original", [True, False], ids=["original names", "diffusers names"])
def test_the_published_shapes_are_told_from_a_header(tmp_path, config, original):
    state = shapes_of(config)
    state = ldm_names(state, stages=4) if original else state
    path = write_header(tmp_path / "ae.safetensors", {name: values.shape for name, values in state.items()})
    layout = identify(path, [path])
    told = dict(layout.config)
    assert (told.pop("scaling_factor"), told.pop("shift_factor")) == (
        (0.18215, 0) if config is SD_VAE_CONFIG else (0.3611, 0.1159)
    )
    quant = config.get("use_quant_conv", True)
    assert (told.pop("use_quant_conv"), told.pop("use_post_quant_conv")) == (quant, quant)
    assert told.pop("mid_block_add_attention") is True
    assert told == {key: config[key] for key in told}
    assert set(config) - set(told) <= {
        "_diffusers_version",
        "act_fn",
        "sample_size",
        "use_quant_conv",
        "use_post_quant_conv",
    }


COMPANY = {  # one of the other weights of a checkpoint
    "sd": {"cond_stage_model.x": (1,)},
    "sdxl": {"conditioner.embedders.0.x": (1,)},
    "sd3": {"model.diffusion_model.joint_blocks.0.x": (1,)},
    "flux": {"model.diffusion_model.double_blocks.0.x": (1,)},
}
KIND = "modelspec.architecture"
FAMILY = {  # channels, name, other weights, metadata → family, and what told it
    "sdxl's text encoders": (4, "x", COMPANY["sdxl"], {}, "sdxl", "by its other weights"),
    "sd's text encoder": (4, "xl", COMPANY["sd"], {}, "sd", "by its other weights"),
    "sd3's network": (16, "flux", COMPANY["sd3"], {}, "sd3", "by its other weights"),
    "flux's network": (16, "x", COMPANY["flux"], {}, "flux", "by its other weights"),
    "sdxl's metadata": (4, "x", {}, {KIND: "stable-diffusion-xl-v1-base"}, "sdxl", "by its metadata"),
    "sd3's metadata": (16, "ae", {}, {KIND: "stable-diffusion-3-medium"}, "sd3", "by its metadata"),
    "sdxl's name": (4, "SDXL_vae", {}, {}, "sdxl", "by its name"),
    "sd's name": (4, "vae-ft-mse-840000-ema-pruned", {}, {}, "sd", "by its name"),
    "flux's name": (16, "ae", {}, {}, "flux", "by its name"),
    "sd3's name": (16, "sd3.5_vae", {}, {}, "sd3", "by its name"),
    "nothing": (4, "vae", {}, {}, "sd", "as nothing says otherwise"),
}
SCALE = {"sd": (0.18215, 0.0), "sdxl": (0.13025, 0.0), "sd3": (1.5305, 0.0609), "flux": (0.3611, 0.1159)}


@pytest.mark.parametrize("case", FAMILY)
def test_the_scale_of_a_lone_file_is_told_or_assumed_and_said(tmp_path, case):
    channels, name, others, metadata, family, reason = FAMILY[case]
    config = LONE_KL if channels == 4 else LONE_16
    own = {f"first_stage_model.{key}": value.shape for key, value in ldm_names(shapes_of(config), 4).items()}
    path = write_header(tmp_path / f"{name}.safetensors", own | others, metadata)
    layout = identify(path, [path])
    assert (layout.config["scaling_factor"], layout.config["shift_factor"]) == SCALE[family]
    other = {"sd": "sdxl", "sdxl": "sd", "sd3": "flux", "flux": "sd3"}[family]
    for words in (f"{channels} channels", str(SCALE[family][0]), reason, f"If that is wrong: `vae_config` {other}"):
        assert words in layout.notice


@pytest.mark.parametrize(
    ("config", "others", "words"),
    [
        (LONE_16, {}, "may be the autoencoder of Stable Diffusion 3 or FLUX.1.*Say which: `vae_config` sd3 or flux"),
        (LONE_16 | {"latent_channels": 32}, {}, "32 channels and stride 8; its scale isn't known"),
        (TINY_KL, {}, "4 channels and stride 2; its scale isn't known.*`vae_config` config.json"),
        (LONE_KL, {"edm_mean": (4,), "conditioner.x": (1,)}, "its scale isn't known"),
        (TINY["asymmetric"], {}, "no autoencoder that its tensors tell.*`vae_config` config.json"),
        (TINY["dc"], {}, "no autoencoder that its tensors tell"),
    ],
    ids=["16 channels", "32 channels", "two stages", "playground", "asymmetric", "dc"],
)
def test_a_lone_file_that_does_not_tell_its_scale_asks_for_it(tmp_path, config, others, words):
    own = {f"{name}": value.shape for name, value in shapes_of(config).items()}
    path = write_header(tmp_path / "x.safetensors", own | others)
    with pytest.raises(WeightsError, match=words):
        load(path)


def test_a_config_that_is_named_is_the_one_that_counts(tmp_path):
    path = save_contiguous(ldm_names(random_model(LONE_16).state_dict(), 4), tmp_path / "ae.safetensors")
    for name, scale, shift in (("flux", 0.3611, 0.1159), ("sd3", 1.5305, 0.0609)):
        geometry = load_autoencoder(path, vae_config=name).geometry
        assert (float(geometry.scale), float(geometry.shift)) == pytest.approx((scale, shift))
    own = tmp_path / "other.json"
    own.write_text(json.dumps(LONE_16 | {"scaling_factor": 2.0, "shift_factor": 0.5}))
    geometry = load_autoencoder(path, vae_config=str(own)).geometry
    assert (float(geometry.scale), float(geometry.shift)) == (2.0, 0.5)
    for wrong, words in (("sdxl", "doesn't fit .* which holds 16 channels"), (tmp_path / "no.json", "can't be read")):
        with pytest.raises(WeightsError, match=words):
            load_autoencoder(path, vae_config=str(wrong))
    tiny = write_folder(tmp_path / "tiny", model_files(TINY["tiny"]))
    with pytest.raises(WeightsError, match=r"`vae_config` flux doesn't fit .* which holds an AutoencoderTiny"):
        load_autoencoder(tiny, vae_config="flux")


@pytest.mark.parametrize("content", ['{"model_type": "llama"}', "no json", json.dumps(TINY_KL)])
def test_a_config_of_something_else_beside_a_lone_file_is_ignored_and_said(tmp_path, content):
    path = save_contiguous(random_model(LONE_KL).state_dict(), tmp_path / "xl.safetensors")
    (tmp_path / "config.json").write_text(content)
    notice = layout_of(present(str(path))).notice
    assert f"{tmp_path / 'config.json'} is not the config of xl.safetensors and is ignored. " in notice
    assert "SDXL, by its name" in notice
    assert float(load(path).geometry.scale) == pytest.approx(0.13025)


# TAESD's own files


def write_taesd(folder, state, name="taesd", suffix=".safetensors"):
    folder.mkdir(exist_ok=True)
    for half, values in taesd_names(state).items():
        save_contiguous(values, folder / f"{name}_{half}{suffix}")
    return folder


@torch.no_grad()
@pytest.mark.parametrize("channels", [4, 16])
def test_taesds_two_files_are_one_autoencoder_whichever_is_named(tmp_path, channels):
    model = random_model(TINY["tiny"] | {"latent_channels": channels})
    folder = write_taesd(tmp_path / "vae_approx", model.state_dict())
    image, latent = picture(16, 24), torch.randn(1, channels, 2, 3)
    named = [folder, folder / "taesd_encoder.safetensors", folder / "taesd_decoder.safetensors"]
    loaded = [load(path) for path in named]
    for autoencoder in loaded:
        geometry = autoencoder.geometry
        assert (geometry.channels, geometry.stride, float(geometry.scale), float(geometry.shift)) == (channels, 8, 1, 0)
        torch.testing.assert_close(autoencoder.encode(image), raw_latent(model, image))
        torch.testing.assert_close(autoencoder.decode(latent), model.decode(latent).sample / 2 + 0.5)
    both = hashlib.sha256(named[2].read_bytes() + named[1].read_bytes()).hexdigest()
    assert {each.sha256 for each in loaded} == {both}


@torch.no_grad()
def test_taesd_combined_in_one_file_is_read_too(tmp_path):
    model = random_model(TINY["tiny"])
    halves = taesd_names(model.state_dict()).items()
    state = {f"taesd_{half}.{name}": value for half, values in halves for name, value in values.items()}
    autoencoder = load(save_contiguous(state | {"vae_scale": torch.ones(1)}, tmp_path / "taesd.safetensors"))
    latent = torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(autoencoder.decode(latent), model.decode(latent).sample / 2 + 0.5)


def test_what_is_wrong_with_taesds_files_is_said(tmp_path):
    state = random_model(TINY["tiny"]).state_dict()
    folder = write_taesd(write_taesd(tmp_path, state), state, "taesdxl")
    with pytest.raises(WeightsError, match=r"has 2 autoencoders. Name one: .*taesd_decoder.* or .*taesdxl_decoder"):
        load(folder)
    assert load(folder / "taesdxl_encoder.safetensors").channels == 4
    (folder / "taesd_encoder.safetensors").unlink()
    with pytest.raises(WeightsError, match="one half of a TAESD, without the other beside it"):
        load(folder / "taesd_decoder.safetensors")


@torch.no_grad()
def test_the_blocks_of_taef2_have_a_normalized_branch(tmp_path):
    """As madebyollin/taesd defines it: x ← x + pool(x), with pool of 1 × 1 convolutions to and from 4 · width."""
    model = random_model(TINY["tiny"])
    shapes = {"0.weight": (32, 8, 1, 1), "1.weight": (32,), "1.bias": (32,), "3.weight": (8, 32, 1, 1)}
    pool = {name: torch.randn(shape, generator=torch.Generator().manual_seed(3)) for name, shape in shapes.items()}
    added = {f"decoder.layers.2.pool.{name}": value for name, value in pool.items()}
    autoencoder = load(write_taesd(tmp_path / "taef2", model.state_dict() | added))
    x = torch.randn(1, 8, 5, 3)
    wide = torch.nn.functional.conv2d(x, pool["0.weight"]).reshape(1, 4, -1)  # four groups
    normal = (wide - wide.mean(-1, keepdim=True)) / (wide.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    normal = normal.reshape(1, 32, 5, 3) * pool["1.weight"].view(-1, 1, 1) + pool["1.bias"].view(-1, 1, 1)
    branch = torch.nn.functional.conv2d(normal.relu(), pool["3.weight"])
    expected = model.decoder.layers[2](x + branch)
    torch.testing.assert_close(autoencoder.model.decoder.layers[2](x), expected, rtol=1e-4, atol=1e-4)


# Folders as people have them


@torch.no_grad()
def test_a_variant_is_read_where_there_is_nothing_else(tmp_path):
    files = model_files(TINY_KL)
    half = {name: values.half() for name, values in random_model(TINY_KL, seed=1).state_dict().items()}
    variant = {"diffusion_pytorch_model.fp16.safetensors": model_files(TINY_KL, half)[WEIGHTS_FILE]}
    both = load(write_folder(tmp_path / "both", files | variant))
    alone = load(write_folder(tmp_path / "alone", without(files, WEIGHTS_FILE) | variant))
    assert both.sha256 == hashlib.sha256(files[WEIGHTS_FILE]).hexdigest()
    latent = torch.randn(1, 4, 2, 2)
    expected = random_model(TINY_KL, seed=1).decode(latent / 0.18215).sample / 2 + 0.5
    torch.testing.assert_close(alone.decode(latent), expected, rtol=1e-2, atol=1e-2)


def test_a_pipelines_folder_stands_for_its_autoencoder_and_says_so(tmp_path):
    files = model_files(TINY_KL)
    write_folder(tmp_path / "pipeline", {"model_index.json": b"{}"})
    vae = write_folder(tmp_path / "pipeline" / "vae", files)
    found = present(str(tmp_path / "pipeline"))
    assert (found.name, found.path) == (str(vae), vae)
    assert found.notice == f"{tmp_path / 'pipeline'} is a pipeline; its autoencoder is used: {vae}."


@pytest.mark.parametrize("suffix", [".sft", ".SAFETENSORS", ".Sft"])
def test_suffixes_of_any_case_are_read(tmp_path, suffix):
    path = save_contiguous(random_model(LONE_KL).state_dict(), tmp_path / f"v{suffix}")
    assert load(path).channels == 4
    pair = write_taesd(tmp_path / "pair", random_model(TINY["tiny"]).state_dict(), suffix=suffix)
    assert load(pair).channels == load(pair / f"taesd_encoder{suffix}").channels == 4


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_named(tmp_path, value):
    state = random_model(TINY_KL).state_dict()
    state["decoder.conv_out.weight"][0, 0, 0, 0] = value
    with pytest.raises(WeightsError, match=r"weights that are not finite: decoder\.conv_out\.weight is the first of 1"):
        load(write_folder(tmp_path, model_files(TINY_KL, state)))


def test_a_git_lfs_pointer_is_called_that(tmp_path):
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 334643276\n".encode()
    folder = write_folder(tmp_path, model_files(TINY_KL) | {WEIGHTS_FILE: pointer})
    for path in (folder, folder / WEIGHTS_FILE):
        with pytest.raises(WeightsError, match=r"are a Git LFS pointer\. In its folder run: git lfs pull"):
            load(path)


def without(files, name):
    return {key: content for key, content in files.items() if key != name}


def changed(files, **values):
    return files | {"config.json": json.dumps(json.loads(files["config.json"]) | values).encode()}


def less(name):
    state = random_model(TINY_KL).state_dict()
    del state[name]
    return model_files(TINY_KL, state)


def more(name):
    return model_files(TINY_KL, random_model(TINY_KL).state_dict() | {name: torch.zeros(1)})


BROKEN = {
    "no config": (lambda files: without(files, "config.json"), "has no config.json"),
    "no weights": (lambda files: without(files, WEIGHTS_FILE), f"has no {WEIGHTS_FILE}"),
    "only a pickle": (
        lambda files: without(files, WEIGHTS_FILE) | {"diffusion_pytorch_model.bin": b"pickle"},
        "is a pickle, which could run code and is not read. Convert it: latentflow weights convert ",
    ),
    "no class": (lambda files: files | {"config.json": b"{}"}, "names no class"),
    "a list": (lambda files: files | {"config.json": b"[1, 2]"}, "names no class"),
    "no json": (lambda files: files | {"config.json": b'{"_class_name": "Auto'}, "config.json can't be read"),
    "no text": (lambda files: files | {"config.json": b"\xff\xfe\x00"}, "config.json can't be read"),
    "other class": (
        lambda files: changed(files, _class_name="AutoencoderOobleck"),
        "AutoencoderOobleck is not served; the autoencoders served are AutoencoderKL, ",
    ),
    "class of a wrong kind": (lambda files: changed(files, _class_name=["AutoencoderKL"]), "is not served"),
    "truncated": (lambda files: files | {WEIGHTS_FILE: files[WEIGHTS_FILE][:-1000]}, "truncated or not safetensors"),
    "empty": (lambda files: files | {WEIGHTS_FILE: b""}, "truncated or not safetensors"),
    "no safetensors": (lambda files: files | {WEIGHTS_FILE: b"x" * 5000}, "truncated or not safetensors"),
    "other widths": (lambda files: changed(files, block_out_channels=[8, 32]), "can't be loaded"),
    "more latent channels": (lambda files: changed(files, latent_channels=8), "can't be loaded"),
    "no groups": (lambda files: changed(files, norm_num_groups=0), "can't be loaded"),
    "no stages": (
        lambda files: changed(files, block_out_channels=[], down_block_types=[], up_block_types=[]),
        "can't be loaded",
    ),
    "stages of no kind": (lambda files: changed(files, down_block_types=["NoBlock"] * 2), "can't be loaded"),
    "no color": (lambda files: changed(files, in_channels=1), "pictures of 1 and 3 channels"),
    "channels of a wrong kind": (lambda files: changed(files, out_channels=[3]), "pictures of 3 and [3] channels"),
    "a scale that is no number": (lambda files: changed(files, scaling_factor="large"), "can't be loaded"),
    "a scale of zero": (lambda files: changed(files, scaling_factor=0.0), "shift and scale must be finite"),
    "a deviation of zero": (lambda files: changed(files, latents_std=[1, 1, 0, 1]), "shift and scale must be finite"),
    "too few means": (lambda files: changed(files, latents_mean=[1, 2, 3]), "one value or 4"),
    "a missing weight": (lambda files: less("decoder.conv_in.weight"), "decoder.conv_in.weight"),
    "a missing attention": (lambda files: less("decoder.mid_block.attentions.0.to_q.weight"), "to_q"),
    "a weight too many": (lambda files: more("decoder.extra"), "decoder.extra"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_folders_are_one_clear_line(tmp_path, capfd, case):
    change, words = BROKEN[case]
    with pytest.raises(WeightsError) as caught:
        load(write_folder(tmp_path / "vae", change(model_files(TINY_KL))))
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.exit_code == 4
    assert "".join(capfd.readouterr()) == ""


def test_a_missing_weight_of_a_single_file_is_an_error_under_either_names(tmp_path):
    for names, convert in (("diffusers", dict), ("ldm", lambda state: ldm_names(state, stages=2))):
        state = random_model(TINY_KL).state_dict()
        del state["decoder.conv_in.bias"]
        folder = tmp_path / names
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(TINY_KL))
        save_file({key: values.contiguous() for key, values in convert(state).items()}, folder / "v.safetensors")
        with pytest.raises(WeightsError, match=r"decoder\.conv_in\.bias"):
            load(folder / "v.safetensors")


def test_a_truncated_single_file_is_an_error(tmp_path):
    path = tmp_path / "v.safetensors"
    path.write_bytes(model_files(TINY_KL)[WEIGHTS_FILE][:-10])
    with pytest.raises(WeightsError, match="truncated or not safetensors"):
        load(path)


def test_a_weight_that_is_missing_is_never_drawn_at_random(tmp_path):
    """Half of the decoder gone: diffusers would only warn."""
    state = {name: x for name, x in random_model(TINY_KL).state_dict().items() if "up_blocks" not in name}
    with pytest.raises(WeightsError, match="weights don't fit"):
        load(write_folder(tmp_path, model_files(TINY_KL, state)))


def test_loading_prints_nothing_and_leaves_the_libraries_as_they_were(tmp_path, capfd):
    from diffusers.utils import logging

    before = logging.get_verbosity()
    folder = write_folder(tmp_path, model_files(TINY_KL, old_names(random_model(TINY_KL).state_dict())))
    load(folder)
    assert capfd.readouterr().out == ""
    assert logging.get_verbosity() == before


def test_an_autoencoder_carries_its_name_and_the_hash_of_its_weights(tmp_path):
    files = model_files(TINY_KL)
    autoencoder = load(write_folder(tmp_path, files))
    assert autoencoder.name == str(tmp_path)
    assert autoencoder.sha256 == hashlib.sha256(files[WEIGHTS_FILE]).hexdigest()
    assert autoencoder.device == torch.device("cpu")


def test_out_of_memory_is_not_blamed_on_the_weights(tmp_path, monkeypatch):
    folder = write_folder(tmp_path, model_files(TINY_KL))

    def exhausted(path, config):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(module, "_build", exhausted)
    with pytest.raises(RuntimeError, match="allocate memory"):
        load(folder)


def test_the_paths_of_a_folder_need_no_particular_place(tmp_path, monkeypatch):
    write_folder(tmp_path / "here", model_files(TINY_KL))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert present("here").path == Path("here")
    assert load("~/here").sha256 == load("here").sha256


BUNDLED = json.loads((bundled().path / "config.json").read_text())
COMPRESSIONS = {
    "a full first stage": {"encoder_layers_per_block": [1, 1, 2], "decoder_layers_per_block": [2, 1, 1]},
    "an empty first stage": {"encoder_layers_per_block": [0, 2, 1], "decoder_layers_per_block": [0, 1, 3]},
    "an empty first stage in the encoder alone": {"decoder_layers_per_block": [1, 1, 1], "latent_channels": 8},
}


def compression(name):
    """The config of a small network without attention."""
    widths, layers = [8, 16, 32], [0, 1, 1]
    sizes = {f"{part}_block_out_channels": widths for part in ("encoder", "decoder")}
    sizes |= {f"{part}_layers_per_block": layers for part in ("encoder", "decoder")}
    return BUNDLED | sizes | COMPRESSIONS[name]


def with_gradient(function, given):
    """What a function makes of a tensor, and the gradient of the sum of its squares."""
    given = given.clone().requires_grad_()
    made = function(given)
    return made.detach(), torch.autograd.grad(made.float().square().sum(), given)[0]


def assert_same(ours, theirs, image, latent):
    for found, expected in (
        (
            with_gradient(lambda x: ours.encode(x).latent, image),
            with_gradient(lambda x: theirs.encode(x).latent, image),
        ),
        (
            with_gradient(lambda z: ours.decode(z).sample, latent),
            with_gradient(lambda z: theirs.decode(z).sample, latent),
        ),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_the_network_of_our_own_is_that_of_diffusers(name):
    config = compression(name)
    theirs = random_model(config)
    generator = torch.Generator().manual_seed(1)
    for each in theirs.parameters():  # norms too, which begin as ones and zeros
        each.data += 0.2 * torch.randn(each.shape, generator=generator)
    assert deep_compression.supports(config)
    ours = deep_compression.AutoencoderDC(config)
    shapes, expected = ({key: each.shape for key, each in model.state_dict().items()} for model in (ours, theirs))
    assert shapes == expected
    ours.load_state_dict(theirs.state_dict())
    image = picture(16, 24, count=2) * 2 - 1
    latent = torch.randn(2, config["latent_channels"], 4, 6, generator=generator)
    assert_same(ours, theirs, image, latent)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_bundled_autoencoder_is_that_of_diffusers(dtype):
    ours = load_autoencoder(bundled(), dtype=dtype)
    theirs = load_autoencoder(replace(bundled(), source="folder"), dtype=dtype)
    assert type(ours.model) is deep_compression.AutoencoderDC
    assert type(theirs.model).__module__.startswith("diffusers.")
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected) and all(torch.equal(state[name], expected[name]) for name in state)
    image = (picture(40, 48) * 2 - 1).to(ours.dtype)
    latent = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(2)).to(ours.dtype)
    assert_same(ours.model, theirs.model, image, latent)


@pytest.mark.parametrize(
    "change",
    [
        {"encoder_block_types": "EfficientViTBlock"},
        {"decoder_norm_types": ["rms_norm", "batch_norm", "rms_norm"]},
        {"decoder_act_fns": "relu"},
        {"upsample_block_type": "interpolate"},
        {"decoder_in_shortcut": False},
        {"an_option_to_come": 1},
        {"_class_name": "AutoencoderKL"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_the_network_of_our_own_lacks_is_left_to_diffusers(change):
    assert deep_compression.supports(BUNDLED | {"_diffusers_version": "0.40.0"})
    assert not deep_compression.supports(BUNDLED | change)
    assert not deep_compression.supports({key: x for key, x in BUNDLED.items() if key != "encoder_layers_per_block"})


def test_bundled_weights_of_another_network_are_loaded_by_diffusers(tmp_path):
    config = TINY["dc"]
    folder = write_folder(tmp_path, model_files(config))
    autoencoder = load_autoencoder(replace(bundled(), path=folder))
    latent = torch.randn(1, 32, 2, 2)
    expected = random_model(config).decode(latent / config["scaling_factor"]).sample / 2 + 0.5
    torch.testing.assert_close(autoencoder.decode(latent), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("broken", ["truncated", "missing"])
def test_broken_bundled_weights_are_one_clear_line(tmp_path, broken):
    config = compression("a full first stage")
    state = random_model(config).state_dict()
    if broken == "missing":
        del state["decoder.norm_out.bias"]
    files = model_files(config, state)
    if broken == "truncated":
        files[WEIGHTS_FILE] = files[WEIGHTS_FILE][:-10]
    words = {"truncated": "truncated or not safetensors", "missing": "decoder.norm_out.bias"}[broken]
    with pytest.raises(WeightsError, match=words) as caught:
        load_autoencoder(replace(bundled(), path=write_folder(tmp_path, files)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"weights": 3}, "`weights` is a name, a path or what find_weights"),
        ({"device": "abacus"}, "`device` must be auto, cpu"),
        ({"dtype": "float7"}, "`dtype` is auto, float32 or bfloat16, not float7"),
    ],
)
def test_what_load_autoencoder_cannot_take_is_an_input_error(given, words):
    with pytest.raises(InputError, match=words):
        load_autoencoder(**given)


def test_load_autoencoder_takes_torchs_own_type():
    assert load_autoencoder("bundled", torch.device("cpu"), torch.bfloat16).dtype is torch.bfloat16
