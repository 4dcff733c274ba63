"""Pipelines of diffusers that encode faithfully inside a `with` block."""

import diffusers
import pytest
import tiny_classes
import tiny_pipelines
import torch
from diffusers import (
    AutoencoderKL,
    FluxImg2ImgPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLImg2ImgPipeline,
)
from PIL import Image

import latentflow
from latentflow import Autoencoder, InputError

SIZE = 32


def picture(count=1):
    """Pictures of sixteen colors, whose latents these random models improve."""
    blocks = [torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(1, 1 + count)]
    return torch.stack(blocks).repeat_interleave(SIZE // 4, 2).repeat_interleave(SIZE // 4, 3)


def expected(vae, image, refine):
    """The latents in the units of the model, as an `Autoencoder` of the same functions refines them."""
    channels = vae.config.latent_channels
    stride = SIZE // vae.encode(image * 2 - 1).latent_dist.mode().shape[-1]
    own = Autoencoder.wrap(encode=vae.encode, decode=vae.decode, channels=channels, stride=stride)
    return own.encode(image, refine=refine)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_autoencoder_encodes_as_ours_does(dtype):
    torch.manual_seed(0)
    vae, image = tiny_pipelines.autoencoder_kl(), picture(2)
    plain, refined = vae.encode(image * 2 - 1).latent_dist, expected(vae, image, 3)
    before = dict(vars(vae))
    vae = vae.to(dtype)
    with latentflow.faithful(vae, refine=3) as given:
        assert given is vae
        found = vae.encode((image * 2 - 1).to(dtype)).latent_dist
        assert torch.equal(found.mode(), found.sample(torch.Generator().manual_seed(1)))
        (as_tuple,) = vae.encode((image * 2 - 1).to(dtype), return_dict=False)
        assert torch.equal(as_tuple.mode(), found.mode())
    assert "encode" not in vars(vae) and set(vars(vae)) == set(before)
    assert found.mode().dtype == dtype
    if dtype == torch.float32:
        torch.testing.assert_close(found.mode(), refined, atol=1e-5, rtol=1e-5)
        assert float((refined - plain.mode()).abs().max()) > 0.1
        torch.testing.assert_close(vae.encode(image * 2 - 1).latent_dist.mode(), plain.mode())


def test_no_steps_are_the_models_own():
    torch.manual_seed(0)
    vae, image = tiny_pipelines.autoencoder_kl(), picture()
    own = vae.encode(image * 2 - 1).latent_dist
    with latentflow.faithful(vae, refine=0):
        found = vae.encode(image * 2 - 1).latent_dist
    assert torch.equal(found.mean, own.mean) and torch.equal(found.std, own.std)


class Linear(torch.nn.Module):
    """An encoder that halves what its decoder shows: one step finds three quarters of it."""

    config, dtype = type("Config", (), {}), torch.float32

    def encode(self, x, return_dict=True):
        return diffusers.models.modeling_outputs.AutoencoderKLOutput(
            latent_dist=diffusers.models.autoencoders.vae.DiagonalGaussianDistribution(
                torch.cat([(x + 1) / 4, torch.zeros_like(x)], dim=1)
            )
        )

    def decode(self, z):
        return diffusers.models.autoencoders.vae.DecoderOutput(sample=z * 2 - 1)


def test_the_innermost_of_nested_blocks_counts_and_errors_end_them():
    vae, image = Linear(), picture()

    def share():
        return float((vae.encode(image * 2 - 1).latent_dist.mode() / image).mean())

    assert share() == pytest.approx(0.5)
    with latentflow.faithful(vae, refine=1):
        assert share() == pytest.approx(0.75)
        with latentflow.faithful(vae, refine=2):
            assert share() == pytest.approx(1, abs=1e-4)
        assert share() == pytest.approx(0.75)
        with pytest.raises(KeyError), latentflow.faithful(vae, refine=2):
            raise KeyError
        assert share() == pytest.approx(0.75)
    assert share() == pytest.approx(0.5)
    first, second = latentflow.faithful(vae, refine=1), latentflow.faithful(vae, refine=2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # not in the order in which they were entered
    assert share() == pytest.approx(1, abs=1e-4)
    second.__exit__(None, None, None)
    assert share() == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["AutoencoderKLQwenImage", "AutoencoderKLFlux2"])
def test_what_it_finds_is_never_worse(name):
    torch.manual_seed(0)
    vae = getattr(diffusers, name)(**tiny_classes.CLASSES[name]).eval()
    image = picture() if name == "AutoencoderKLFlux2" else picture()[:, :, None]

    def error(latent):
        return float((vae.decode(latent).sample / 2 + 0.5 - image).clamp(-1, 1).square().mean())

    with torch.no_grad():
        own = vae.encode(image * 2 - 1).latent_dist.mode()
        with latentflow.faithful(vae, refine=4):
            found = vae.encode(image * 2 - 1).latent_dist.mode()
        assert found.shape == own.shape
        assert error(found) <= error(own) + 1e-6


PIPELINES = {
    "sd": (tiny_pipelines.stable_diffusion, StableDiffusionImg2ImgPipeline),
    "sdxl": (tiny_pipelines.stable_diffusion_xl, StableDiffusionXLImg2ImgPipeline),
    "flux": (tiny_pipelines.flux, FluxImg2ImgPipeline),
}


@pytest.mark.parametrize("kind", PIPELINES)
def test_a_pipeline_begins_with_the_refined_latent(kind, monkeypatch):
    make, img2img = PIPELINES[kind]
    pipeline = img2img.from_pipe(make())
    pipeline.set_progress_bar_config(disable=True)
    vae, begun = pipeline.vae, []
    image = picture()
    shift, scale = getattr(vae.config, "shift_factor", None) or 0.0, vae.config.scaling_factor
    refined = (expected(vae, image, 3) - shift) * scale
    own = (vae.encode(image * 2 - 1).latent_dist.mode() - shift) * scale
    assert float((refined - own).abs().max()) > 0.01
    noising = "scale_noise" if kind == "flux" else "add_noise"
    original = getattr(type(pipeline.scheduler), noising)

    def spied(self, first, *more):
        begun.append(first)
        return original(self, first, *more)

    monkeypatch.setattr(type(pipeline.scheduler), noising, spied)
    given = {"prompt": "a cat", "image": image, "strength": 0.5, "num_inference_steps": 2, "output_type": "np"}
    given |= {"height": SIZE, "width": SIZE} if kind == "flux" else {}
    with latentflow.faithful(pipeline, refine=3):
        made = pipeline(**given, generator=torch.Generator().manual_seed(0)).images
    assert made.shape == (1, SIZE, SIZE, 3)
    torch.testing.assert_close(begun[0].reshape(refined.shape), refined, atol=1e-4, rtol=1e-4)


def test_inpainting_runs_with_it():
    pipeline = StableDiffusionInpaintPipeline.from_pipe(tiny_pipelines.stable_diffusion())
    pipeline.set_progress_bar_config(disable=True)
    white = Image.new("L", (SIZE, SIZE), 255)
    given = {"prompt": "a cat", "image": picture(), "mask_image": white, "num_inference_steps": 2, "output_type": "np"}
    given |= {"height": SIZE, "width": SIZE, "strength": 0.5}
    with latentflow.faithful(pipeline, refine="auto"):
        assert pipeline(**given).images.shape == (1, SIZE, SIZE, 3)
    assert type(pipeline.vae.encode).__name__ == "method" and isinstance(pipeline.vae, AutoencoderKL)


def test_what_has_no_autoencoder_is_refused():
    with pytest.raises(InputError, match="a pipeline of diffusers with a `vae`"), latentflow.faithful(3):
        pass
    with pytest.raises(InputError, match="`refine` is a number"), latentflow.faithful(Linear(), refine=-1):
        pass
