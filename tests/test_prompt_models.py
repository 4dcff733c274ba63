"""Pipelines of text-to-image models: what is loaded and what is refused, x0 of every scheduler, and values that aren't
finite."""

import inspect
import json
import math
import shutil

import pytest
import torch

pytest.importorskip("transformers", reason="needs transformers")
import diffusers
import tiny_pipelines
from safetensors.torch import load_file, save_file
from standins import write_cache

from latentflow.base.errors import DivergedError, InputError, WeightsError
from latentflow.base.session import Session
from latentflow.prompts import loading
from latentflow.prompts.config import PromptsConfig
from latentflow.prompts.loading import load_pipeline
from latentflow.prompts.run import run_prompts
from latentflow.prompts.schedules import expected

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PICTURE = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
SCHEDULERS = [
    *("DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler"),
    *("EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler"),
    *("KDPM2AncestralDiscreteScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"),
    *("DEISMultistepScheduler", "UniPCMultistepScheduler", "SASolverScheduler", "LCMScheduler", "TCDScheduler"),
]
NO_SAMPLE = (
    "PNDMScheduler",
    "EulerAncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "sd"
    tiny_pipelines.stable_diffusion().save_pretrained(path)
    return path


@pytest.fixture
def copied(small, tmp_path):
    return shutil.copytree(small, tmp_path / "copy")


def noise_at(time):
    """σ of a timestep, from the betas alone; between two steps log σ is interpolated, as Karras et al. do."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = (1 - betas).cumprod(0)
    logarithms = ((1 - kept) / kept).sqrt().log()
    below = math.floor(float(time))
    share = float(time) - below
    return math.exp((1 - share) * logarithms[below] + share * logarithms[min(below + 1, 999)])


def denoised(scheduler, answer, tolerance):
    """Denoise with a model that knows the picture: x0 must be the picture at each step."""
    scheduler.set_timesteps(6)
    sample = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * scheduler.init_noise_sigma
    random = {"generator": torch.Generator().manual_seed(1)}
    takes = inspect.signature(scheduler.step).parameters
    given = {name: value for name, value in random.items() if name in takes}
    for time in scheduler.timesteps:
        output = answer(sample, scheduler.scale_model_input(sample, time), float(time))
        found = expected(scheduler, output, time, sample)
        assert torch.allclose(found, PICTURE, atol=tolerance), (float(time), float((found - PICTURE).abs().max()))
        sample = scheduler.step(output, time, sample, **given)[0]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_x0_is_the_picture_where_the_model_knows_it(name, kind):
    if kind == "sample" and name in NO_SAMPLE:
        pytest.skip("the scheduler doesn't take it")

    def answer(sample, scaled, time):
        sigma = noise_at(time)
        a = 1 / math.sqrt(sigma**2 + 1)
        s = sigma * a
        noise = (scaled - a * PICTURE) / s
        return {"epsilon": noise, "v_prediction": a * noise - s * PICTURE, "sample": PICTURE}[kind]

    takes = inspect.signature(getattr(diffusers, name).__init__).parameters
    plain = BETAS | {"prediction_type": kind} | ({"clip_sample": False} if "clip_sample" in takes else {})
    denoised(getattr(diffusers, name)(**plain), answer, 1e-4)
    if "use_karras_sigmas" in takes:  # some of them round their timesteps
        denoised(getattr(diffusers, name)(**plain, use_karras_sigmas=True), answer, 0.02)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"])
def test_x0_of_edm_is_the_picture_where_the_model_knows_it(name, kind):
    """Karras et al. (2022): x0 = c_skip · x + c_out · F, with σ_data = 0.5 and timesteps of ¼ ln σ."""

    def answer(sample, scaled, time):
        sigma = math.exp(4 * time)
        skip = 0.25 / (sigma**2 + 0.25)
        out = sigma * 0.5 / math.sqrt(sigma**2 + 0.25)
        return (PICTURE - skip * sample) / (out if kind == "epsilon" else -out)

    denoised(getattr(diffusers, name)(prediction_type=kind), answer, 1e-3)


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"])
def test_x0_of_a_flow_is_the_picture_where_the_model_is_right(name):
    scheduler = getattr(diffusers, name)()
    scheduler.set_timesteps(5)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sample = noise
    for time in scheduler.timesteps:
        assert torch.allclose(expected(scheduler, noise - PICTURE, time, sample), PICTURE, atol=1e-5)
        sample = scheduler.step(noise - PICTURE, time, sample).prev_sample
    assert torch.allclose(sample, PICTURE, atol=1e-5)


@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler"])
def test_x0_of_a_flow_with_a_solver(name):
    scheduler = getattr(diffusers, name)(prediction_type="flow_prediction", use_flow_sigmas=True)
    scheduler.set_timesteps(5)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    first = scheduler.sigmas[0]  # not quite 1
    sample = first * noise + (1 - first) * PICTURE
    for time in scheduler.timesteps:
        assert torch.allclose(expected(scheduler, noise - PICTURE, time, sample), PICTURE, atol=1e-4)
        sample = scheduler.step(noise - PICTURE, time, sample).prev_sample


def test_x0_is_limited_where_the_scheduler_limits_it():
    scheduler = diffusers.DDIMScheduler(**BETAS, clip_sample=True)
    scheduler.set_timesteps(3)
    output = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    found = expected(scheduler, output, scheduler.timesteps[0], 3 * PICTURE)
    wanted = scheduler.step(output, scheduler.timesteps[0], 3 * PICTURE).pred_original_sample
    assert torch.allclose(found, wanted, atol=1e-5) and found.abs().max() == 1


def poison(folder, part):
    """Make one weight of a part NaN."""
    path = next((folder / part).glob("*.safetensors"))
    weights = load_file(path)
    name = next(name for name in sorted(weights) if weights[name].is_floating_point() and weights[name].ndim == 1)
    name = "text_model.final_layer_norm.bias" if "text_model.final_layer_norm.bias" in weights else name
    name = "post_quant_conv.bias" if "post_quant_conv.bias" in weights else name
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, path, {"format": "pt"})


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_are_not_finite_are_an_error_and_no_black_pictures(copied, part, invoke):
    poison(copied, part)
    code, out, err = invoke(
        *("prompts", "a boat@1", "@2", "--model", copied, "--steps", 2, "--frames", 2, "--output_path", "w.gif")
    )
    assert code == 4 and f"the weights of its {part} have values that are not finite" in err, err
    assert "Warning" not in err and "wrote" not in out


def test_values_that_overflow_are_an_error_of_their_own(small, monkeypatch):
    model = load_pipeline(str(small), "cpu")
    with torch.no_grad():
        model.pipeline.vae.post_quant_conv.bias.fill_(3e38)
        model.pipeline.vae.post_quant_conv.weight.fill_(3e38)
    with pytest.raises(DivergedError, match="its vae gives values that are not finite"):
        model.generate(model.noise(1, 16), model.encode("a"), steps=2)


@pytest.mark.parametrize("kind", ["StableDiffusionImg2ImgPipeline", "MyOwnPipeline", "DDPMPipeline", 3, None])
def test_other_pipelines_are_refused_before_anything_is_loaded(tmp_path, kind):
    """The folder has an index and nothing else."""
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(InputError, match=f"is a {kind}. These take prompts here: StableDiffusionPipeline"):
        load_pipeline(str(tmp_path))


def test_of_another_pipeline_on_the_hub_only_the_index_is_fetched(tmp_path, monkeypatch):
    fetched = []

    def fetch(name, files):
        fetched.append((str(name), files))
        write_cache(tmp_path / "hub", "some/video", {"model_index.json": b'{"_class_name": "VideoPipeline"}'})
        return ""

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(loading, "download", fetch)
    with pytest.raises(InputError, match="some/video is a VideoPipeline"):
        load_pipeline("some/video")
    assert fetched == [("some/video", ("model_index.json",))]


def test_a_pipeline_in_the_cache_asks_the_network_nothing(small, tmp_path, monkeypatch):
    files = {path.relative_to(small).as_posix(): path.read_bytes() for path in small.rglob("*") if path.is_file()}
    write_cache(tmp_path / "hub", "some/model", files)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(loading, "_download", lambda name: pytest.fail("asked the network"))
    assert load_pipeline("some/model", "cpu").kind == "StableDiffusionPipeline"


def test_what_keeps_a_pipeline_from_being_downloaded_is_one_line(tmp_path, monkeypatch):
    index = {"model_index.json": b'{"_class_name": "StableDiffusionPipeline"}'}
    write_cache(tmp_path / "hub", "some/model", index)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(loading, "probe", lambda name: f"{name} did not answer")
    with pytest.raises(WeightsError, match="some/model can't be downloaded: some/model did not answer"):
        load_pipeline("some/model")

    class ClientError(Exception):
        """An exception of an HTTP client, which is no OSError."""

    def fail(*given):
        raise ClientError("connection reset.")

    monkeypatch.setattr(loading, "probe", lambda name: "")
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", fail)
    with pytest.raises(WeightsError, match="can't be downloaded: connection reset"):
        load_pipeline("some/model")


def test_fp16_files_are_read_where_there_are_no_others(small, tmp_path):
    folder = tmp_path / "half"
    tiny_pipelines.stable_diffusion().save_pretrained(folder, variant="fp16")
    assert not list(folder.glob("unet/diffusion_pytorch_model.safetensors"))
    model, other = load_pipeline(str(folder), "cpu"), load_pipeline(str(small), "cpu")
    for one, two in zip(model.pipeline.unet.parameters(), other.pipeline.unet.parameters(), strict=True):
        assert torch.equal(one, two)
    (part,) = (folder / "vae").glob("*.safetensors")  # one part of both
    part.rename(part.with_name(part.name.replace(".fp16", "")))
    assert load_pipeline(str(folder), "cpu").kind == "StableDiffusionPipeline"


@pytest.mark.parametrize(
    "files, variant",
    [
        (["unet/model.safetensors", "unet/model.fp16.safetensors"], None),
        (["unet/model.fp16.safetensors", "unet/model.ema.safetensors"], "fp16"),
        (["unet/model-00001-of-00002.safetensors", "v1-5-pruned.fp16.safetensors"], None),
        (["text/model.fp16-00001-of-00002.safetensors", "unet/model.safetensors"], "fp16"),
        (["text/model-00001-of-00002.fp16.safetensors"], "fp16"),
    ],
)
def test_the_variant_that_a_repository_has(files, variant):
    assert loading._variant(files) == variant


def without_tokenizer(folder):
    shutil.rmtree(folder / "tokenizer")


def with_an_empty_tokenizer(folder):
    (folder / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    (folder / "tokenizer" / "vocab.json").unlink(missing_ok=True)


def without_weights(folder):
    next((folder / "unet").glob("*.safetensors")).unlink()


def with_pickles(folder):
    path = next((folder / "unet").glob("*.safetensors"))
    path.rename(path.with_suffix(".bin"))


def with_pointers(folder):
    next((folder / "vae").glob("*.safetensors")).write_text("version https://git-lfs.github.com/spec/v1\noid 0\n")


def without_index(folder):
    (folder / "model_index.json").unlink()


def with_a_broken_index(folder):
    (folder / "model_index.json").write_text("{")


@pytest.mark.parametrize(
    "change, words",
    [
        (without_tokenizer, "has no tokenizer. Complete the folder"),
        (with_an_empty_tokenizer, "has no tokenizer. Complete the folder"),
        (without_weights, "has no weights of its unet. Complete the folder"),
        (with_pickles, "has its unet as a pickle, diffusion_pytorch_model.bin, which could run code. If you trust it"),
        (with_pointers, "is a pointer of Git LFS and not the weights. Run: git lfs pull"),
        (without_index, "has no model_index.json: it is no folder of a diffusers pipeline"),
        (with_a_broken_index, "model_index.json can't be read"),
    ],
)
def test_an_incomplete_folder_is_one_line_with_a_remedy(copied, change, words, invoke):
    change(copied)
    code, _, err = invoke("prompts", "a boat@1", "@2", "--model", copied, "--output_path", "w.gif")
    assert code == 4 and words in err and len(err.strip().splitlines()) == 1, err


def test_a_single_file_is_said_to_be_one(tmp_path, invoke):
    for name, words in (("a.safetensors", "from_single_file"), ("a.ckpt", "from_single_file"), ("a.txt", "no model")):
        (tmp_path / name).write_bytes(b"x")
        code, _, err = invoke("prompts", "a boat@1", "@2", "--model", name, "--output_path", "w.gif")
        assert code == 4 and words in err and len(err.strip().splitlines()) == 1, err


@pytest.mark.parametrize(
    "options, words",
    [
        ({"scheduler": "pndm", "steps": 1}, r"`steps` 1 are too few for pndm\. Use 4 or more"),
        ({"scheduler": "ddim", "steps": 1000}, ""),
    ],
)
def test_steps_that_the_scheduler_refuses_are_said_before_anything_is_made(small, tmp_path, options, words):
    model = load_pipeline(str(small), "cpu", scheduler=options["scheduler"])
    if not words:
        model.check_steps(options["steps"])
        return
    with pytest.raises(InputError, match=words):
        run_prompts(["a@1", "@2"], PromptsConfig(**options, output_path=str(tmp_path / "w.gif")), Session(), model)
    assert not list(tmp_path.iterdir())
    model.pipeline.scheduler = diffusers.LCMScheduler()
    with pytest.raises(InputError, match=r"`steps` 60 are too many for LCMScheduler\. Use 50 or fewer"):
        model.check_steps(60)


def flux(embeds):
    pipeline = tiny_pipelines.flux()
    pipeline.transformer.register_to_config(guidance_embeds=embeds)
    return pipeline


def consistency():
    """A latent consistency model has its guidance distilled, and takes its scale."""
    pipeline = tiny_pipelines.stable_diffusion()
    pipeline.unet.register_to_config(time_cond_proj_dim=8)
    return pipeline


@pytest.mark.parametrize(
    "pipeline, guidance, negative, words",
    [
        (lambda: flux(False), 3.0, "", "`guidance` would have no effect: m was distilled to do without it"),
        (lambda: flux(True), 3.0, "dark", "`negative` would have no effect: m has no classifier-free guidance"),
        (consistency, 3.0, "dark", "`negative` would have no effect: m has no classifier-free guidance"),
        (tiny_pipelines.stable_diffusion, 1.0, "dark", "`negative` would have no effect with `guidance` 1. Use more"),
        (tiny_pipelines.sana, 0.0, "dark", "`negative` would have no effect with `guidance` 0. Use more"),
    ],
)
def test_guidance_and_negative_prompts_without_effect_are_refused(pipeline, guidance, negative, words):
    from latentflow.prompts.pipelines import TextToImage

    with pytest.raises(InputError) as error:
        TextToImage(pipeline(), "m").check_guidance(guidance, bool(negative))
    assert words in str(error.value)


def test_guidance_and_negative_prompts_with_an_effect_are_taken(small):
    from latentflow.prompts.pipelines import TextToImage

    assert TextToImage(flux(True), "m").check_guidance(3.0, False) == ""
    assert TextToImage(consistency(), "m").check_guidance(0.5, False) == ""
    model = load_pipeline(str(small), "cpu")
    assert model.check_guidance(None, True) == model.check_guidance(0.0, False) == model.check_guidance(2.0, True) == ""
    assert model.check_guidance(0.5, False) == "Guidance of 0.5 has no effect: only more than 1 guides."


def test_what_a_model_does_not_read_of_a_prompt_is_said(invoke):
    words = "a red house by day " * 6
    line = ("prompts", f"{words}a blue boat at night@1", "@2", "--model", "toy", "--frames", 2, "--steps", 1)
    code, _, err = invoke(*line, "--output_path", "w.gif")
    assert code == 0, err
    assert "toy reads the first 30 tokens of a prompt; left out: 'a blue boat at night'." in err
    code, _, err = invoke(*line[:1], "a blue boat at night@1", *line[2:], "--output_path", "v.gif")
    assert code == 0 and "left out" not in err, err


@pytest.mark.parametrize(
    "maker, counts",
    [
        (tiny_pipelines.stable_diffusion, [75]),
        (tiny_pipelines.stable_diffusion_3, [75, 254]),
        (tiny_pipelines.flux, [75]),
        (tiny_pipelines.pixart_alpha, [118]),
        (tiny_pipelines.pixart, [298]),
    ],
)
def test_each_text_encoder_has_its_own_limit(maker, counts):
    """A letter is a token here."""
    from latentflow.prompts.pipelines import TextToImage

    model = TextToImage(maker(), "m")
    found = model.left_out("x" * 300 + " end")
    assert sorted(found) == counts and all(words.endswith("end") for words in found.values())
    assert model.left_out("x" * min(counts)) == {}
