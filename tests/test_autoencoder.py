"""Every class that is served, with tiny random weights, against the diffusers model it wraps."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from standins import SD_VAE_CONFIG, TINY, TINY_KL, ldm_names, model_files, old_names, random_model, write_folder

from latentflow.errors import WeightsError
from latentflow.models import autoencoder as module
from latentflow.models import deep_compression
from latentflow.models.autoencoder import LatentGeometry, load_autoencoder
from latentflow.models.weights import WEIGHTS_FILE, bundled, present


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


def single_files():
    state = random_model(TINY_KL).state_dict()
    ldm = ldm_names(state, stages=2)
    checkpoint = {f"first_stage_model.{name}": values for name, values in ldm.items()}
    checkpoint |= {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}
    return {"diffusers": state, "old names": old_names(state), "ldm": ldm, "whole checkpoint": checkpoint}


@torch.no_grad()
@pytest.mark.parametrize("names", ["diffusers", "old names", "ldm", "whole checkpoint"])
@pytest.mark.parametrize("beside", [True, False], ids=["config beside it", "alone"])
def test_a_single_file_under_any_names_holds_the_same_weights(tmp_path, monkeypatch, names, beside):
    config = TINY_KL | {"scaling_factor": 0.25}
    if beside:
        (tmp_path / "config.json").write_text(json.dumps(config))
    else:
        monkeypatch.setattr(module, "SD_CONFIG", TINY_KL | {"scaling_factor": 0.18215})
    save_file({key: values.contiguous() for key, values in single_files()[names].items()}, tmp_path / "v.safetensors")
    autoencoder = load(tmp_path / "v.safetensors")
    scale = 0.25 if beside else 0.18215
    assert float(autoencoder.geometry.scale) == pytest.approx(scale)
    image, latent, model = picture(8, 8), torch.randn(1, 4, 4, 4), random_model(TINY_KL)
    expected = model.decode(latent / scale).sample / 2 + 0.5
    torch.testing.assert_close(autoencoder.decode(latent), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(autoencoder.encode(image), raw_latent(model, image) * scale, rtol=1e-4, atol=1e-5)


def test_what_is_assumed_of_a_single_file_is_what_stable_diffusion_published():
    assumed = dict(module.SD_CONFIG)
    assert assumed.pop("scaling_factor") == 0.18215  # the default of the class, which the published config leaves out
    assert assumed == {key: SD_VAE_CONFIG[key] for key in assumed}
    assert set(SD_VAE_CONFIG) - set(assumed) == {"_diffusers_version", "act_fn", "sample_size"}


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
        "only a pickle, which is not read",
    ),
    "no class": (lambda files: files | {"config.json": b"{}"}, "names no class"),
    "a list": (lambda files: files | {"config.json": b"[1, 2]"}, "names no class"),
    "no json": (lambda files: files | {"config.json": b'{"_class_name": "Auto'}, "config.json can't be read"),
    "no text": (lambda files: files | {"config.json": b"\xff\xfe\x00"}, "config.json can't be read"),
    "other class": (
        lambda files: changed(files, _class_name="AutoencoderKLCogVideoX"),
        "AutoencoderKLCogVideoX is not served; the autoencoders served are AutoencoderKL, ",
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
    "no color": (lambda files: changed(files, in_channels=1), "pictures of 1 channels"),
    "channels of a wrong kind": (lambda files: changed(files, out_channels=[3]), "pictures of [3] channels"),
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
    import hashlib

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
