"""Every served class, tiny and with random weights: held as diffusers' pipelines hold it, and fit for every command."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from standins import TINY, model_files, random_model, write_folder
from tiny_classes import CLASSES

import latentflow
from latentflow.base.errors import InputError, WeightsError
from latentflow.explore.channels import decode_channels
from latentflow.latents.files import load_latent
from latentflow.models.adapters import Frame, Still
from latentflow.models.autoencoder import load_autoencoder
from latentflow.models.served import SERVED
from latentflow.models.weights import present

CAUSAL = ("AutoencoderKLQwenImage", "AutoencoderKLWan", "AutoencoderKLQwenImage21")
SIZE = 32


def with_statistics(model):
    """The model with statistics in its weights that change something, where it has such."""
    generator = torch.Generator().manual_seed(5)
    for name, buffer in model.named_buffers():
        if name in ("bn.running_mean", "latents_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator))
        if name in ("bn.running_var", "latents_std"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return model


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """The folder of each class, saved as diffusers saves it, by name."""
    made = {}

    def folder(name):
        if name not in made:
            model = with_statistics(random_model(CLASSES[name]))
            made[name] = write_folder(tmp_path_factory.mktemp(name), model_files(CLASSES[name], model.state_dict()))
        return made[name]

    return folder


@pytest.fixture(scope="module", params=CLASSES)
def served(request, folders):
    """(name, autoencoder as loaded from a folder, the diffusers model its weights come from)."""
    model = with_statistics(random_model(CLASSES[request.param])).requires_grad_(False)
    return request.param, load_autoencoder(present(str(folders(request.param)))), model


def is_video(name):
    return SERVED[name].adapter in ("causal", "Frame", "SlicedFrame")


def picture(count=1):
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


def given(name, model, image):
    """A picture as the model takes it."""
    if name == "AutoencoderRAE":
        return image
    if model.config.get("in_channels") == 4:
        image = torch.cat([image, torch.ones_like(image[:, :1])], dim=1)
    image = image * 2 - 1
    return image.unsqueeze(2) if is_video(name) else image


def held(name, model, values):
    """What the pipelines do between the autoencoder and the denoiser, channel by channel."""
    config = model.config
    if name == "AutoencoderKLFlux2":
        n, c, rows, columns = values.shape
        values = values.view(n, c, rows // 2, 2, columns // 2, 2).permute(0, 1, 3, 5, 2, 4)
        values = values.reshape(n, 4 * c, rows // 2, columns // 2)
        mean = model.bn.running_mean
        std = torch.sqrt(model.bn.running_var + config.batch_norm_eps)
    elif name in ("AutoencoderKLLTXVideo", "AutoencoderKLLTX2Video"):
        mean, std = model.latents_mean, model.latents_std
    elif name == "AutoencoderRAE" or config.get("latents_mean") is None:
        return values * (1 if name == "AutoencoderRAE" else config.get("scaling_factor", 1))
    else:
        mean, std = (
            torch.tensor(config[key]).view(values.shape[1], -1)[:, 0] for key in ("latents_mean", "latents_std")
        )
    return torch.stack([(values[:, i] - mean[i]) / std[i] for i in range(values.shape[1])], dim=1)


def own_decoding(name, model, values):
    """What diffusers makes of raw values, as a picture in [0, 1]."""
    more = {"num_frames": 1} if name == "AutoencoderKLTemporalDecoder" else {}
    if name == "ConsistencyDecoderVAE":
        more["generator"] = torch.Generator().manual_seed(0)
    if model.config.get("timestep_conditioning"):
        more["temb"] = torch.zeros(1)
    torch.manual_seed(0)  # of the noise in LTX's decoder
    image = model.decode(values, **more).sample
    image = image[:, :3, 0] if is_video(name) else image
    return image if name == "AutoencoderRAE" else image / 2 + 0.5


@torch.no_grad()
def test_latents_and_pictures_are_those_of_the_pipelines(served):
    name, autoencoder, model = served
    image = picture()
    output = model.encode(given(name, model, image))
    values = next(getattr(output, each) for each in ("latent_dist", "latents", "latent") if hasattr(output, each))
    values = values.mode() if hasattr(values, "mode") and not isinstance(values, torch.Tensor) else values
    latent = autoencoder.encode(image)
    expected = held(name, model, values[:, :, 0] if is_video(name) else values)
    assert latent.shape[1:] == autoencoder.geometry.latent_shape(SIZE, SIZE) == expected.shape[1:]
    torch.testing.assert_close(latent, expected, rtol=1e-5, atol=1e-5)
    decoded = own_decoding(name, model, values)
    assert float((autoencoder.decode(latent).clamp(0, 1) - decoded.clamp(0, 1)).abs().max()) < 1 / 255


def test_the_gradient_reaches_every_value_and_is_the_same_with_checkpointing(served):
    name, autoencoder, _ = served
    geometry, noise = autoencoder.geometry, torch.Generator().manual_seed(1)
    latent = torch.randn(1, *geometry.latent_shape(SIZE, SIZE), generator=noise, requires_grad=True)
    (plain,) = torch.autograd.grad((autoencoder.decode(latent) * picture()).sum(), latent)
    assert torch.isfinite(plain).all() and (plain != 0).all()
    if not SERVED[name].blocks:
        with pytest.raises(InputError, match="no blocks that can be computed twice"):
            autoencoder.checkpoint_decoder()
        return
    blocks = autoencoder._blocks()
    assert blocks and not [each for each in blocks if set(list(each.modules())[1:]) & set(blocks)]
    again = load_autoencoder(present(autoencoder.name))
    again.checkpoint_decoder()
    (checkpointed,) = torch.autograd.grad((again.decode(latent) * picture()).sum(), latent)
    torch.testing.assert_close(checkpointed, plain, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_picture_of_a_batch_is_what_it_is_alone(served):
    _, autoencoder, _ = served
    latents = autoencoder.encode(picture(count=2))
    torch.testing.assert_close(latents[1:], autoencoder.encode(picture(count=2)[1:]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(autoencoder.decode(latents)[1:], autoencoder.decode(latents[1:]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_autoencoder_is_one_of_pictures_and_isnt_clamped(folders, name):
    autoencoder = load_autoencoder(present(str(folders(name))))
    assert type(autoencoder.model) is Still
    assert not [each for each in autoencoder.model.modules() if isinstance(each, torch.nn.Conv3d)]
    latent = 50 * torch.randn(1, *autoencoder.geometry.latent_shape(SIZE, SIZE), generator=torch.manual_seed(1))
    decoded = autoencoder.decode(latent.requires_grad_())
    decoded.sum().backward()
    assert (latent.grad != 0).all()


def test_one_that_computes_otherwise_keeps_its_time_axis(folders, monkeypatch):
    monkeypatch.setattr("latentflow.models.adapters._is_same", lambda expected, found: False)
    autoencoder = load_autoencoder(present(str(folders("AutoencoderKLQwenImage"))))
    assert type(autoencoder.model) is Frame and "time axis" in autoencoder.model.notice
    model = with_statistics(random_model(CLASSES["AutoencoderKLQwenImage"]))
    values = torch.randn(1, 4, 8, 8, generator=torch.manual_seed(2))
    expected = model.decode(values[:, :, None]).sample[:, :, 0]
    torch.testing.assert_close(autoencoder.model.decode(values), expected)


def test_one_size_is_said(folders):
    autoencoder = load_autoencoder(present(str(folders("AutoencoderRAE"))))
    with pytest.raises(InputError, match=r"32 × 32 pixels alone, not 48 × 32.*`size` 32"):
        autoencoder.encode(torch.rand(1, 3, 32, 48))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("AutoencoderVidTok", "can't encode a single picture"),
        ("NoSuchAutoencoder", "not served.*Autoencoder.wrap.*entry point"),
    ],
)
def test_what_isnt_served_names_a_way_out(tmp_path, name, words):
    folder = write_folder(tmp_path / "vae", model_files(TINY["kl"]))
    (folder / "config.json").write_text(json.dumps({"_class_name": name}))
    with pytest.raises(WeightsError, match=words):
        load_autoencoder(present(str(folder)))


def test_gray_pictures_of_a_gray_autoencoder(tmp_path):
    config = TINY["kl"] | {"scaling_factor": 0.5, "in_channels": 1, "out_channels": 1}
    model = random_model(config)
    autoencoder = load_autoencoder(present(str(write_folder(tmp_path, model_files(config, model.state_dict())))))
    gray = picture()[:, :1]
    with torch.no_grad():
        expected = model.encode(gray * 2 - 1).latent_dist.mode()
        latent = autoencoder.encode(gray.expand(-1, 3, -1, -1))
        torch.testing.assert_close(latent, expected * config["scaling_factor"], rtol=1e-4, atol=1e-5)
        decoded = autoencoder.decode(latent)
        assert decoded.shape == (1, 3, SIZE, SIZE) and (decoded[:, :1] == decoded).all()


def test_a_class_that_doesnt_compute_in_bfloat16_is_float32_or_an_error(folders):
    found = present(str(folders("AutoencoderKLCosmos")))
    try:
        torch.nn.functional.avg_pool3d(torch.ones(1, 1, 1, 2, 2, dtype=torch.bfloat16), (1, 2, 2))
    except NotImplementedError:
        with pytest.raises(InputError, match=r"doesn't compute in bfloat16.*`dtype` float32"):
            load_autoencoder(found, dtype="bfloat16")
        assert load_autoencoder(found, dtype="auto").dtype == torch.float32


@torch.no_grad()
def test_a_latent_of_the_flux2_pipeline_decodes_as_there(folders, tmp_path):
    from diffusers import Flux2Pipeline

    autoencoder = load_autoencoder(present(str(folders("AutoencoderKLFlux2"))))
    model = with_statistics(random_model(CLASSES["AutoencoderKLFlux2"]))
    pipeline = SimpleNamespace(vae=model, _patchify_latents=Flux2Pipeline._patchify_latents)
    image = picture()
    scaled = Flux2Pipeline._encode_vae_image(pipeline, image * 2 - 1, torch.Generator())
    torch.testing.assert_close(autoencoder.encode(image), scaled, rtol=1e-5, atol=1e-5)
    raw = model.encode(image * 2 - 1).latent_dist.mode()
    for name, latent, units in (("scaled", scaled, "scaled"), ("raw", raw, "unscaled")):
        np.save(tmp_path / f"{name}.npy", latent.numpy())
        read = load_latent(tmp_path / f"{name}.npy", autoencoder, f"{Path(autoencoder.name).name}:{units}")
        torch.testing.assert_close(read, scaled, rtol=1e-4, atol=1e-5)
    expected = model.decode(raw).sample / 2 + 0.5
    torch.testing.assert_close(autoencoder.decode(scaled), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_channels_of_flux2_say_their_place_in_a_cell(folders):
    autoencoder = load_autoencoder(present(str(folders("AutoencoderKLFlux2"))))
    values = torch.zeros(1, 4, 8, 8)
    values[0, 3, 1::2, 0::2] = 1  # the lower left of every cell, of the last channel
    latent = (torch.nn.functional.pixel_unshuffle(values, 2) - autoencoder.shift) * autoencoder.scale
    (channel,) = decode_channels(autoencoder, latent, (SIZE, SIZE), [14])
    assert channel.title == "channel 14 (3, lower left)"
    raw = channel.values / autoencoder.scale[0, 14] + autoencoder.shift[0, 14]
    torch.testing.assert_close(raw, torch.ones(4, 4))


@torch.no_grad()
def test_a_latent_of_one_frame_is_one_of_a_picture(folders, tmp_path):
    autoencoder = load_autoencoder(present(str(folders("AutoencoderKLQwenImage"))))
    latent = torch.randn(1, 4, 1, 6, 8, generator=torch.manual_seed(1))
    np.save(tmp_path / "video.npy", latent.numpy())
    read = load_latent(tmp_path / "video.npy", autoencoder, f"{Path(autoencoder.name).name}:scaled")
    assert torch.equal(read, latent[:, :, 0])


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_every_class_goes_through_the_commands(folders, name, photo, images, tmp_path, invoke):
    options = ("--vae", folders(name), "--size", SIZE)
    square = ("--fit", "cover") if name == "AutoencoderRAE" else ()
    run = ("--image_path", photo, "--steps", 2, "--seed", 1, "--quiet", *square)
    for command, output in (
        (run, "run.gif"),
        (("walk", photo, images / "0.png", "--frames", 3, *square), "walk.gif"),
        (("channels", photo, *square), "channels.png"),
        (("evaluate", images, "--weights", "bundled", *square), "worst.png"),
    ):
        path = tmp_path / output
        code, out, err = invoke(*command, *options, "--output_path", path)
        assert code == 0, (out, err)
        assert path.exists()
    found = latentflow.encode_folder(images, vae=folders(name), size=SIZE)
    assert len(found.latents) == 10 and torch.isfinite(found.latents.float()).all()
