"""Training: its loss, its weights, its resumption, and the folder it writes."""

import json
import math
import multiprocessing
import os
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from processes import Command
from safetensors.torch import load_file

from latentflow.base.errors import Interrupted
from latentflow.base.session import Session
from latentflow.base.state import pack, unpack
from latentflow.models.autoencoder import load_autoencoder
from latentflow.models.networks import Networks
from latentflow.models.weights import find_weights
from latentflow.pictures.files import cover, to_tensor
from latentflow.training import run as training_run
from latentflow.training.config import TrainConfig
from latentflow.training.data import Folder
from latentflow.training.gan import PatchDiscriminator, adaptive_weight, hinge_loss, last_layer
from latentflow.training.models import Autoencoding, build, read_config, weighted_regularization, whitening_loss
from latentflow.training.plan import make_train_plan
from latentflow.training.run import train
from latentflow.training.sweep import sweep
from latentflow.training.trainer import Trainer

ROOT = Path(__file__).parent.parent
TINY_KL = {
    "_class_name": "AutoencoderKL",
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "block_out_channels": [8, 8, 16],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "mid_block_add_attention": False,
}
TINY_DC = {
    "_class_name": "AutoencoderDC",
    "latent_channels": 4,
    "attention_head_dim": 8,
    "encoder_block_types": "ResBlock",
    "decoder_block_types": "ResBlock",
    "encoder_block_out_channels": [16, 16, 16],
    "decoder_block_out_channels": [16, 16, 16],
    "encoder_layers_per_block": [0, 1, 1],
    "decoder_layers_per_block": [0, 1, 1],
    "encoder_qkv_multiscales": [[], [], []],
    "decoder_qkv_multiscales": [[], [], []],
}
TINY_TINY = {
    "_class_name": "AutoencoderTiny",
    "encoder_block_out_channels": [8, 8, 8],
    "decoder_block_out_channels": [8, 8, 8],
    "num_encoder_blocks": [1, 1, 1],
    "num_decoder_blocks": [1, 1, 1],
}
QUICK = {"batch": 4, "crop": 32, "precision": "fp32", "workers": 0}
ARGUMENTS = [word for key, value in QUICK.items() for word in (f"--{key}", str(value))]


@pytest.fixture
def kl(tmp_path):
    """The config.json of a tiny autoencoder with a posterior."""
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY_KL))
    return path


@pytest.fixture(autouse=True)
def few_statistics(monkeypatch):
    """The statistics of the latents are those of 6 images: it is what takes longest in a short training."""
    monkeypatch.setattr("latentflow.training.compression.STATISTICS_IMAGES", 6)


def trainer(images, model_config=TINY_KL, **options):
    config = TrainConfig(**{"data": "x", "output_dir": "y", "steps": 6, **QUICK, **options})
    return Trainer(config, model_config, Folder(images, config.seed), Networks("bundled"))


def train_config(images, model_config, folder, **options):
    """A config for `train`, with the config.json of a tiny model beside the output folder."""
    path = folder.with_suffix(".json")
    path.write_text(json.dumps(model_config))
    named = {"data": str(images), "config": str(path), "output_dir": str(folder)}
    return TrainConfig(**QUICK | named | {"steps": 6} | options)


def written_weights(folder):
    return load_file(folder / "diffusion_pytorch_model.safetensors")


def metrics_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def checkpoint_of(folder):
    """The state of a training without its time, which never repeats."""
    state = unpack(folder / "checkpoint.safetensors")["training"]
    assert state.pop("seconds") > 0 and state.pop("other_seconds") > 0
    return state


def states_equal(one, two):
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(states_equal(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(states_equal, one, two))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


# The loss


def test_kl_and_reconstruction_are_weighted_as_sums_over_an_image():
    """Against the formula written out: ½ Σ(μ² + σ² − log σ² − 1), and LDM's sum of both over an image."""
    torch.manual_seed(0)
    model = build(TINY_KL)
    image = torch.rand(2, 3, 32, 32)
    output, kl = Autoencoding(model, 0.0)(image * 2 - 1)
    mean, log_variance = model.encode(image * 2 - 1).latent_dist.parameters.chunk(2, dim=1)
    expected = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(dim=(1, 2, 3))
    assert torch.allclose(kl, expected, rtol=1e-4)
    config = TrainConfig(crop=32, kl_weight=0.01)
    error = (output / 2 + 0.5 - image).abs()
    ours = error.mean(dim=(1, 2, 3)) + weighted_regularization(config, kl, posterior=True)
    summed = error.sum(dim=(1, 2, 3)) + 0.01 * kl
    assert torch.allclose(ours * 3 * 32 * 32, summed, rtol=1e-5)


def test_a_posterior_is_sampled_by_reparameterization():
    torch.manual_seed(0)
    model = build(TINY_KL)
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    autoencoding = Autoencoding(model, 0.0)
    torch.manual_seed(1)
    sampled, _ = autoencoding(image)
    posterior = model.encode(image).latent_dist
    torch.manual_seed(1)
    expected = model.decode(posterior.mean + posterior.std * torch.randn(posterior.mean.shape)).sample
    assert torch.allclose(sampled, expected, atol=1e-5)
    sampled.sum().backward()
    assert model.quant_conv.weight.grad.abs().max() > 0


@pytest.mark.parametrize("config", [TINY_DC, TINY_TINY], ids=lambda config: config["_class_name"])
def test_models_without_a_posterior_are_kept_near_unit_variance(config):
    model = build(config)
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    output, regularization = Autoencoding(model, 0.1)(image)
    assert output.shape == image.shape and regularization.shape == (2,)
    white = torch.randn(8, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    assert float(whitening_loss(white)) < 1e-3
    assert float(whitening_loss(white * 3)) > 1 and float(whitening_loss(white + 3)) > 1
    assert float(whitening_loss(white[:, :1].expand(-1, 4, -1, -1))) > 0.5


def test_noise_is_drawn_by_the_generator_alone():
    for config in (TINY_KL, TINY_DC):
        autoencoding = Autoencoding(build(config), 0.1)
        image = torch.rand(1, 3, 32, 32) * 2 - 1
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        one, two, other = (autoencoding(image, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
        assert torch.equal(one, two) and not torch.equal(one, other)
        assert torch.equal(torch.rand(3), expected)  # the random state of the process is untouched


def test_the_hinge_loss_and_the_adaptive_weight():
    real, reconstructed = torch.tensor([2.0, 0.5]), torch.tensor([-2.0, 0.0])
    assert float(hinge_loss(real, reconstructed)) == pytest.approx(0.5 * (0.25 + 0.5))
    layer = torch.ones(2, requires_grad=True)
    weight = adaptive_weight((3 * layer).sum(), (-0.5 * layer).sum(), layer)
    assert float(weight) == pytest.approx(3 * math.sqrt(2) / (0.5 * math.sqrt(2) + 1e-4))
    model = build(TINY_KL)
    assert last_layer(model) is model.decoder.conv_out.weight


def test_the_discriminator_scores_patches_of_each_image_alone():
    discriminator = PatchDiscriminator(width=8)
    images = torch.rand(3, 3, 64, 64)
    scores = discriminator(images)
    assert scores.shape[:2] == (3, 1) and 1 < scores.shape[2] < 16
    assert torch.allclose(scores[1:2], discriminator(images[1:2]), atol=1e-5)


@pytest.mark.slow
def test_training_with_the_gan_loss_is_stable(images, monkeypatch):
    """A hundred steps and more: nothing explodes, the discriminator learns, and the reconstructions stay."""
    monkeypatch.setattr("latentflow.training.trainer.PatchDiscriminator", lambda: PatchDiscriminator(width=16))
    training = trainer(images, steps=130, gan_weight=0.5, gan_start=40, lr=3e-3, batch=2, validate_every=1000)
    records = list(training.updates())
    assert "adversarial" not in records[39].parts and "adversarial" in records[40].parts
    psnrs = torch.stack([record.psnr.mean() for record in records])
    losses = torch.stack([record.parts["discriminator"].mean() for record in records[40:]])
    assert torch.isfinite(psnrs).all() and torch.isfinite(losses).all()
    assert losses[-40:].mean() < losses[:10].mean()  # the discriminator learns
    assert psnrs[-40:].mean() > psnrs[30:40].mean() - 1
    assert all(0 <= float(record.parts["adaptive"].mean()) <= 1e4 for record in records[40:])


# The loop


@pytest.mark.slow
def test_training_improves_and_averages(images):
    records = list((training := trainer(images, TINY_DC, steps=150, lr=5e-3, validate_every=75)).updates())
    assert [record.index for record in records] == list(range(1, 151))
    psnrs = [float(record.psnr.mean()) for record in records]
    assert np.mean(psnrs[-20:]) > np.mean(psnrs[:20]) + 3
    assert records[0].lr < records[14].lr and records[-1].lr < records[75].lr / 20  # a warm-up, then a cosine to zero
    validated = [record for record in records if record.validation]
    assert [record.index for record in validated] == [75, 150] and validated[1].sheet.shape == (1, 3, 512, 256)
    assert validated[1].validation["psnr"] > validated[0].validation["psnr"]
    one, two = last_layer(training.average.module), last_layer(training.model)
    assert not torch.equal(one, two) and torch.allclose(one, two, atol=0.05)


def test_an_interrupted_and_an_uninterrupted_training_are_the_same_bit_for_bit(images):
    options = {"gan_weight": 0.3, "gan_start": 2}
    uninterrupted = trainer(images, **options)
    list(uninterrupted.updates())
    first = trainer(images, **options)
    for record in first.updates(workers=1):
        if record.index == 3:
            break
    torch.rand(5)  # what happens in between changes nothing
    second = trainer(images, **options)
    second.restore(first.state())
    assert [record.index for record in second.updates()] == [4, 5, 6]
    one, two = uninterrupted.state(), second.state()
    assert all(state.pop(name) for state in (one, two) for name in ("seconds", "other_seconds"))
    assert states_equal(one, two)


@pytest.mark.slow
def test_time_ends_a_training_and_its_learning_rate(images):
    training = trainer(images, steps=10**6, max_minutes=0.05, validate_every=10**6)
    records = list(training.updates())
    assert 2 < len(records) < 10**5
    assert training.clock.seconds == pytest.approx(3.0, abs=1.5)  # everything, of which updates are a part
    assert 0 < training.seconds < training.clock.seconds
    assert records[-1].lr < 0.2 * max(record.lr for record in records)
    assert records[-1].validation and records[-1].sheet is not None


def test_a_perceptual_term_trains(images):
    records = list(trainer(images, steps=2, loss_type="l1 + 0.1*lpips").updates())
    assert set(records[0].parts) == {"l1", "lpips[bundled]", "kl"}


# What is written


def test_the_written_weights_are_the_moving_average(images, tmp_path):
    """Against the formula: w₁ first, then decay·average + (1 − decay)·w, where decay is at most (1 + n) / (10 + n)."""
    options = {"steps": 5, "lr": 0.02, "ema": 0.3}
    training = trainer(images, **options)
    average = None
    for record in training.updates():
        weights = {name: value.double().clone() for name, value in training.model.state_dict().items()}
        n = record.index - 1
        decay = min(0.3, (1 + n) / (10 + n))
        average = average or weights
        average = {name: decay * average[name] + (1 - decay) * weights[name] for name in weights}
    train(make_train_plan(train_config(images, TINY_KL, tmp_path / "made", **options)), Session())
    written = written_weights(tmp_path / "made")
    assert written.keys() == average.keys()
    for name, value in written.items():
        torch.testing.assert_close(value.double(), average[name], rtol=1e-3, atol=1e-6)  # fp16 has 11 bits
    last = last_layer(training.model).detach().double()
    assert float((written["decoder.conv_out.weight"].double() - last).abs().max()) > 1e-3


def test_the_metrics_are_those_of_each_update(images, tmp_path):
    config = train_config(images, TINY_KL, tmp_path / "made", kl_weight=3.0, loss_type="l1 + 2*mse", validate_every=3)
    train(make_train_plan(config), Session())
    lines = metrics_of(tmp_path / "made")
    training = trainer(images, kl_weight=3.0, loss_type="l1 + 2*mse", validate_every=3)
    records = list(training.updates())
    assert [line["psnr"] for line in lines] == [float(record.psnr.mean()) for record in records]
    assert [line["loss"] for line in lines] == [float(record.loss.mean()) for record in records]
    assert len({line["psnr"] for line in lines}) == 6
    for line in lines:
        parts = line["parts"]
        expected = parts["l1"] + 2 * parts["mse"] + 3.0 * parts["kl"] / (3 * 32 * 32)
        assert line["loss"] == pytest.approx(expected, rel=1e-5)
    assert [line["step"] for line in lines if "validation" in line] == [3, 6]
    assert lines[5]["validation"] == training.validate()[0]


def test_the_sheet_shows_originals_above_reconstructions(images, tmp_path):
    config = train_config(images, TINY_DC, tmp_path / "made", steps=30, lr=5e-3, validate_every=15)
    train(make_train_plan(config), Session())
    sheets = sorted((tmp_path / "made" / "samples").iterdir())
    assert [path.name for path in sheets] == ["0000015.png", "0000030.png"]
    sheet = to_tensor(Image.open(sheets[1]))
    assert sheet.shape == (1, 3, 512, 256)
    original = Folder(images, 0).validation()
    assert torch.equal(sheet[..., :256, :], original)
    autoencoder = load_autoencoder(find_weights(str(tmp_path / "made")))
    with torch.no_grad():
        reconstruction = autoencoder(original).clamp(0, 1)
    assert float((sheet[..., 256:, :] - reconstruction).abs().max()) < 0.02  # the weights are in fp16
    assert float((reconstruction - original).abs().mean()) > 0.1


def test_starting_over_removes_the_sheets_of_the_earlier_training(images, tmp_path):
    config = train_config(images, TINY_KL, tmp_path / "made", steps=4, validate_every=2)
    train(make_train_plan(config), Session())
    train(make_train_plan(replace(config, steps=3, overwrite=True)), Session())
    names = sorted(path.name for path in (tmp_path / "made" / "samples").iterdir())
    assert names == ["0000002.png", "0000003.png"]
    train(make_train_plan(replace(config, steps=5, validate_every=5, resume=True)), Session())
    names = sorted(path.name for path in (tmp_path / "made" / "samples").iterdir())
    assert names == ["0000002.png", "0000003.png", "0000005.png"]


def test_the_written_scaling_factor_gives_unit_variance(images, tmp_path, monkeypatch):
    monkeypatch.setattr("latentflow.training.compression.STATISTICS_IMAGES", 64)
    train(make_train_plan(train_config(images, TINY_KL, tmp_path / "made")), Session())
    from diffusers import AutoencoderKL

    model = AutoencoderKL.from_pretrained(tmp_path / "made", low_cpu_mem_usage=False)
    folder = Folder(images, 0)
    pictures = torch.cat([to_tensor(cover(Image.open(path).convert("RGB"), 256, 256)) for path in folder.paths])
    with torch.no_grad():
        latents = model.encode(pictures * 2 - 1).latent_dist.mean
    scaling_factor = json.loads((tmp_path / "made" / "config.json").read_text())["scaling_factor"]
    assert scaling_factor == pytest.approx(1 / float(latents.std()), rel=0.03)  # of each image once, not of 64 draws
    assert abs(scaling_factor - 1) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "values", "ratio"),
    # 512 / 4 = 128 cells on a side
    [(2, "786 432 → 32 768", 24), (3, "786 432 → 49 152", 16), (8, "786 432 → 131 072", 6)],
)
def test_the_report_counts_the_values(images, tmp_path, channels, values, ratio):
    config = train_config(images, TINY_KL, tmp_path / "made", steps=1, channels=channels)
    report = train(make_train_plan(config), Session())
    line = next(line for line in str(report).splitlines() if line.startswith("values"))
    assert line == f"values    {values} for 512 × 512 pixels: {ratio} ×"
    written = json.loads((tmp_path / "made" / "report.json").read_text())["compression"]
    assert written["ratio"] == ratio and written["values_in"] == 512 * 512 * 3
    assert f"({ratio} ×)" in (tmp_path / "made" / "README.md").read_text()


def test_the_model_card_names_the_command(images, tmp_path):
    config = train_config(images, TINY_KL, tmp_path / "made", steps=1, channels=2)
    report = train(make_train_plan(config), Session())
    words = report.command().split()
    assert words[:2] == ["latentflow", "train"] and "--resume" not in words
    assert words[words.index("--steps") + 1] == "1" and words[words.index("--channels") + 1] == "2"
    assert f"| Command | `{report.command()}` |" in (tmp_path / "made" / "README.md").read_text()


def test_the_kl_weight_changes_what_is_learned(images):
    weights = []
    for kl_weight in (0.0, 1e-6, 100.0):
        training = trainer(images, steps=10, lr=5e-3, kl_weight=kl_weight)
        *_, last = training.updates()
        weights.append((last_layer(training.model), float(last.parts["kl"].mean())))
    assert not torch.equal(weights[0][0], weights[1][0])
    assert weights[2][1] < 0.8 * weights[0][1]  # the KL divergence itself


def test_the_gan_loss_has_an_effect_from_its_first_step_and_none_before(images):
    def weights_after(steps, **options):
        training = trainer(images, **options)
        for record in training.updates():
            if record.index == steps:
                return torch.cat([each.flatten().clone() for each in training.model.parameters()])

    plain = [weights_after(steps) for steps in (2, 3)]
    weak, strong = ({"gan_weight": weight, "gan_start": 2} for weight in (0.1, 1.0))
    assert torch.equal(weights_after(2, **strong), plain[0])
    ends = [plain[1], weights_after(3, **weak), weights_after(3, **strong)]
    assert not torch.equal(ends[0], ends[1]) and not torch.equal(ends[1], ends[2])


# The command


def test_the_command_writes_a_folder_that_diffusers_and_the_main_command_read(invoke, images, kl, small, tmp_path):
    code, out, err = invoke(
        *("train", "--data", images, "--config", kl, "--output_dir", "made", "--steps", 8, "--validate_every", 4),
        *ARGUMENTS,
    )
    assert code == 0, err
    folder = tmp_path / "made"
    assert "4 096 →" not in out and "786 432 → 65 536 for 512 × 512 pixels: 12 ×" in out
    assert "8 steps" in out and "on 1 validation image" in out and "--vae made" in out
    from diffusers import AutoencoderKL

    model = AutoencoderKL.from_pretrained(folder, low_cpu_mem_usage=False)
    report = json.loads((folder / "report.json").read_text())
    scale = report["compression"]["scaling_factor"]
    assert model.config.scaling_factor == scale
    assert len(report["compression"]["channel_std"]) == 4
    values = load_file(folder / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in values.values()} == {torch.float16}
    assert str(images) in (folder / "README.md").read_text()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert [line["step"] for line in lines if "validation" in line] == [4, 8]
    assert sorted(path.name for path in (folder / "samples").iterdir()) == ["0000004.png", "0000008.png"]
    autoencoder = load_autoencoder(find_weights(str(folder)))
    pictures = [to_tensor(cover(Image.open(path).convert("RGB"), 256, 256)) for path in sorted(images.rglob("*.*g"))]
    with torch.no_grad():
        latents = torch.cat([autoencoder.encode(picture) for picture in pictures])
    assert float(latents.std()) == pytest.approx(1, abs=0.1)
    code, _, err = invoke("--image_path", small, "--vae", "made", "--steps", 2, "--size", 48)
    assert code == 0, err


def test_a_changed_model_is_found_by_its_hash(invoke, images, kl, small, tmp_path):
    invoke("train", "--data", images, "--config", kl, "--output_dir", "made", "--steps", 1, *ARGUMENTS)
    weights = tmp_path / "made" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    code, _, err = invoke("--image_path", small, "--vae", "made", "--steps", 2, "--size", 48)
    assert code == 4 and "corrupt" in err


@pytest.mark.slow
def test_a_killed_training_resumes_exactly(invoke, images, kl, tmp_path):
    """kill −9 between two checkpoints; what follows is bit for bit what an uninterrupted training does."""

    def line(folder, *more):
        options = ["--data", images, "--config", kl, "--output_dir", folder, "--steps", 12, "--checkpoint_every", 3]
        return ["train", *options, *ARGUMENTS, "--quiet", *more]

    killed, uninterrupted = tmp_path / "killed", tmp_path / "uninterrupted"
    command = Command(line(killed), tmp_path, new_session=True)
    metrics = killed / "metrics.jsonl"
    deadline = time.monotonic() + 90
    while not (metrics.exists() and metrics.read_text().count("\n") >= 5):
        assert time.monotonic() < deadline and command.poll() is None
        time.sleep(0.01)
    os.killpg(command.pid, signal.SIGKILL)
    command.communicate()
    assert (killed / "checkpoint.safetensors").exists() and not (killed / "config.json").exists()
    code, _, err = invoke(*line(killed, "--resume"))
    assert code == 0 and "Resuming from step " in err, err
    assert invoke(*line(uninterrupted))[0] == 0
    assert states_equal(checkpoint_of(killed), checkpoint_of(uninterrupted))
    names = ("diffusion_pytorch_model.safetensors", "config.json")
    assert all((killed / name).read_bytes() == (uninterrupted / name).read_bytes() for name in names)
    steps = [json.loads(row)["step"] for row in metrics.read_text().splitlines()]
    assert steps == list(range(1, 13))


class StopAt:
    """A progress meter that stops its session after a step."""

    def __init__(self, step):
        self.session, self.step = Session(start_meter=lambda total, unit: self), step

    def update(self, done, text):
        if done >= self.step:
            self.session.stop("asked to", 143)

    def close(self):
        pass


def test_a_stopped_training_writes_its_model_and_resumes(images, tmp_path, monkeypatch):
    monkeypatch.setattr("latentflow.sinks.progress.SHOW_EVERY", -1)
    config = train_config(images, TINY_KL, tmp_path / "made", steps=12, workers=1)
    stop, told = StopAt(5), []
    stop.session.say, stop.session.quiet = told.append, False
    report = train(make_train_plan(config), stop.session)
    assert "Measuring and writing the model; a second Ctrl-C leaves only the checkpoint." in told
    assert str(report.error) == (
        "Stopped at step 5; the checkpoint and the model are of that step (asked to). "
        "Its figures are of 1 validation image alone."
    )
    assert report.error.exit_code == 143 and report.step == 5
    assert not multiprocessing.active_children()  # though the error with its traceback lives on in the report
    assert json.loads((tmp_path / "made" / "report.json").read_text())["steps"] == 5
    said = []
    report = train(make_train_plan(replace(config, resume=True)), Session(said.append))
    assert said == ["Resuming from step 5."] and report.error is None and report.step == 12
    again = train(make_train_plan(replace(config, resume=True)), Session())
    assert again.step == 12 and again.compression == report.compression
    assert [line["step"] for line in metrics_of(tmp_path / "made")] == list(range(1, 13))


@pytest.mark.slow
def test_a_training_that_is_stopped_is_measured_on_few_images(tmp_path, monkeypatch):
    measured = []
    measure = training_run.measure

    def measuring(autoencoder, pictures, validation, seed, count):
        measured.append((len(validation), count))
        return measure(autoencoder, pictures, validation, seed, count)

    monkeypatch.setattr("latentflow.sinks.progress.SHOW_EVERY", -1)
    monkeypatch.setattr("latentflow.training.compression.STATISTICS_IMAGES", 64)
    monkeypatch.setattr(training_run, "measure", measuring)
    report = train(
        make_train_plan(train_config("generated", TINY_TINY, tmp_path / "made", steps=4, pictures=12)),
        StopAt(1).session,
    )
    assert measured == [(2, 8)] and report.validation_images == 2
    assert str(report.error).endswith("Its figures are of 2 validation images alone.")


@pytest.mark.slow
def test_a_training_in_a_thread_is_stopped_from_another_and_resumed(images, tmp_path):
    """Two trainings at once, one of which is stopped: both end up as each does alone."""
    configs = [
        train_config(images, TINY_KL, tmp_path / "kl", steps=20),
        train_config(images, TINY_DC, tmp_path / "dc", steps=20, seed=3),
    ]
    sessions, reports = [Session(), Session()], {}

    def run(index, config):
        reports[index] = train(make_train_plan(config), sessions[index])

    threads = [threading.Thread(target=run, args=each) for each in enumerate(configs)]
    for thread in threads:
        thread.start()
    metrics = tmp_path / "kl" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        assert time.monotonic() < deadline and threads[0].is_alive()
        time.sleep(0.01)
    sessions[0].stop()
    for thread in threads:
        thread.join(60)
    stopped = reports[0]
    assert isinstance(stopped.error, Interrupted) and 3 <= stopped.step < 20
    assert reports[1].error is None and reports[1].step == 20
    sessions[0] = Session()
    thread = threading.Thread(target=run, args=(0, replace(configs[0], resume=True)))
    thread.start()
    thread.join(60)
    assert reports[0].error is None and reports[0].step == 20
    for config in configs:
        folder = Path(config.output_dir)
        alone = folder.with_name(f"{folder.name}-alone")
        train(make_train_plan(replace(config, output_dir=str(alone))), Session())
        assert states_equal(checkpoint_of(folder), checkpoint_of(alone))


def test_a_session_that_is_stopped_already_trains_nothing(images, tmp_path):
    session = Session()
    session.stop()
    with pytest.raises(Interrupted, match="before the first step"):
        train(make_train_plan(train_config(images, TINY_KL, tmp_path / "made")), session)
    assert not list((tmp_path / "made").rglob("*"))


def without_format_version(content):
    """The bytes of a safetensors file as 0.1.0 wrote it."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    del header["__metadata__"]["format_version"]
    header = json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + content[end:]


@pytest.mark.slow
def test_a_checkpoint_of_an_earlier_release_resumes(images, tmp_path):
    """It has no format version, other options and another name for the optimizer of the discriminator."""
    folder = tmp_path / "made"
    config = train_config(images, TINY_KL, folder, steps=2, gan_weight=0.3, gan_start=1)
    train(make_train_plan(config), Session())
    path = folder / "checkpoint.safetensors"
    content = unpack(path)
    content["options"] |= {"an_option_that_is_gone": 5}
    del content["options"]["latent_noise"]
    content["training"]["judging"] = content["training"].pop("discriminator_optimizer")
    path.write_bytes(without_format_version(pack(content)))
    report = train(make_train_plan(replace(config, steps=4, resume=True)), Session())
    assert report.error is None and report.step == 4
    alone = trainer(images, steps=2, gan_weight=0.3, gan_start=1)
    list(alone.updates())
    second = trainer(images, steps=4, gan_weight=0.3, gan_start=1)
    second.restore(alone.state())
    list(second.updates())
    expected = {key: value for key, value in second.state().items() if key not in ("seconds", "other_seconds")}
    assert states_equal(checkpoint_of(folder), json_like(expected))


def json_like(tree):
    """A state as it comes back from a file: tuples are lists."""
    if isinstance(tree, dict):
        return {key: json_like(value) for key, value in tree.items()}
    return [json_like(each) for each in tree] if isinstance(tree, list | tuple) else tree


@pytest.mark.slow
def test_ctrl_c_prints_one_line_with_workers_too(images, kl, tmp_path):
    line = ["train", "--data", images, "--config", kl, "--quiet", "--output_dir", "made", "--steps", 100000]
    process = Command([*line, *ARGUMENTS, "--workers", 2], tmp_path, new_session=True)
    metrics = tmp_path / "made" / "metrics.jsonl"
    deadline = time.monotonic() + 90
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.count("\n") == 1 and "Stopped at step" in err, err
    assert (tmp_path / "made" / "checkpoint.safetensors").exists() and (tmp_path / "made" / "config.json").exists()


def test_a_training_can_begin_with_the_weights_of_another(invoke, images, kl, tmp_path):
    common = ("train", "--data", images, "--config", kl, *ARGUMENTS, "--lr", 1e-9)
    assert invoke(*common, "--output_dir", "one", "--steps", 2)[0] == 0
    code, _, err = invoke(*common, "--output_dir", "two", "--steps", 1, "--start", "one", "--seed", 5)
    assert code == 0, err
    one, two = (load_file(tmp_path / name / "diffusion_pytorch_model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name].float(), two[name].float(), atol=1e-3) for name in one)
    code, _, err = invoke(*common, "--output_dir", "three", "--steps", 1, "--start", "nowhere")
    assert code == 2 and "--start" in err
    code, _, err = invoke(
        *("train", "--data", images, "--config", "small-kl", *ARGUMENTS),
        *("--output_dir", "four", "--steps", 1, "--start", "one"),
    )
    assert code == 2 and "the weights don't fit this --config" in err and err.count("\n") == 1


@pytest.mark.slow
def test_a_sweep_draws_rate_against_distortion(invoke, images, kl, tmp_path, saved_figures):
    code, out, err = invoke(
        *("train", "--data", images, "--config", kl, "--output_dir", "swept", "--steps", 25, "--lr", 6e-3),
        *("--kl_weight", "0,0.1,100", *ARGUMENTS),
    )
    assert code == 0, err
    reports = [
        json.loads((tmp_path / "swept" / name / "report.json").read_text())["compression"]
        for name in ("kl_weight=0", "kl_weight=0.1", "kl_weight=100")
    ]
    rates = [report["bits_per_pixel"] for report in reports]
    assert rates[0] > rates[1] > rates[2]  # a heavier KL term leaves fewer bits
    assert reports[0]["psnr_at_rate"] > reports[2]["psnr_at_rate"]
    assert out.count("\n") == 5 and (tmp_path / "swept" / "sweep.md").read_text() == out
    assert "Training with --kl_weight 0.1." in err
    (axes,) = saved_figures[0].axes
    assert "bits per pixel (KL divergence)" in axes.get_xlabel() and "PSNR" in axes.get_ylabel()
    points = [tuple(float(value) for value in each.get_offsets()[0]) for each in axes.collections]
    assert points == [(report["bits_per_pixel"], report["psnr_at_rate"]) for report in reports]
    assert {each.get_text(): each.xy for each in axes.texts} == dict(
        zip(("kl_weight 0", "kl_weight 0.1", "kl_weight 100"), points)
    )
    (line,) = axes.lines
    assert list(zip(*(map(float, each) for each in line.get_data()))) == sorted(points)
    row = [cell.strip() for cell in out.splitlines()[3].strip("|").split("|")]
    assert row[0] == "0.1" and [float(cell) for cell in row[1:4]] == pytest.approx(
        [rates[1], reports[1]["psnr_at_rate"], reports[1]["psnr"]], rel=1e-3
    )
    with Image.open(tmp_path / "swept" / "sweep.png") as figure:
        assert figure.size == (840, 576)


def test_a_sweep_ends_with_the_training_that_is_stopped(images, tmp_path, monkeypatch):
    monkeypatch.setattr("latentflow.sinks.progress.SHOW_EVERY", -1)
    config = train_config(images, TINY_KL, tmp_path / "swept")
    reports = sweep(config, "channels", (2, 4), StopAt(3).session)
    assert [(report.step, report.error is None) for report in reports] == [(3, False)]
    assert not (tmp_path / "swept" / "channels=4").exists()


@pytest.mark.parametrize("values", ["0,1e-6,0", "1e-6,1.00000001e-6"])
def test_a_sweep_with_one_folder_for_two_trainings_is_refused(invoke, images, tmp_path, values):
    arguments = ("--data", images, "--config", "small-kl", "--output_dir", "swept", "--steps", 2)
    code, _, err = invoke("train", *arguments, "--kl_weight", values)
    assert code == 2 and "--kl_weight has" in err and "twice" in err and not (tmp_path / "swept").exists()


def test_a_sweep_over_channels(invoke, images, kl):
    code, out, err = invoke(
        *("train", "--data", images, "--config", kl, "--output_dir", "swept", "--steps", 2, "--json"),
        *("--channels", "2,4", *ARGUMENTS),
    )
    assert code == 0, err
    assert [report["compression"]["ratio"] for report in json.loads(out)] == [24, 12]


@pytest.mark.slow
def test_several_processes_train_one_model(images, tmp_path):
    """Two processes, as `accelerate launch` starts them: the gradients of one process that has their samples; the main
    one writes."""
    undisturbed = {"latent_noise": 0.0, "latent_weight": 0.0, "gan_weight": 0.5, "gan_start": 3}
    (tmp_path / "dc.json").write_text(json.dumps(TINY_DC))
    line = ["train", "--data", images, "--config", "dc.json", "--steps", 4]
    line += ["--output_dir", "made", "--device", "cpu", *ARGUMENTS]
    line += [word for key, value in undisturbed.items() for word in (f"--{key}", str(value))]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        Command(line, tmp_path, env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)
    ]
    try:
        answers = [process.communicate(timeout=100) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], answers
    assert ["wrote" in out for out, _ in answers] == [True, False]
    lines = (tmp_path / "made" / "metrics.jsonl").read_text().splitlines()
    alone = [float(record.grad_norm) for record in trainer(images, TINY_DC, steps=4, batch=8, **undisturbed).updates()]
    assert [json.loads(row)["grad_norm"] for row in lines] == pytest.approx(alone, rel=0.03)
    assert "discriminator" in json.loads(lines[3])["parts"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--output_dir", "m"], 2, "Missing option --data"),
        (["--data", "IMAGES"], 2, "Missing option --output_dir"),
        (["--data", "nowhere", "--output_dir", "m"], 2, "does not exist"),
        (["--data", "generatd", "--output_dir", "m"], 2, "Did you mean generated?"),
        (["--data", "small.png", "--output_dir", "m"], 2, "is a file, not a folder of images"),
        (["--data", "ONE", "--output_dir", "m"], 2, "holds 1 image;"),
        (["--data", ".", "--output_dir", "m"], 2, "--output_dir m is in the folder"),
        (["--data", "IMAGES", "--output_dir", "m", "--gan_weight", "1", "--compile"], 2, "can't be used together"),
        (["--data", "IMAGES", "--output_dir", "m", "--config", "bundle"], 2, "Did you mean bundled?"),
        (["--data", "IMAGES", "--output_dir", "m", "--config", "small.png"], 2, "can't be read"),
        (["--data", "IMAGES", "--output_dir", "m", "--loss_type", "l1 + nix"], 2, "no loss named 'nix'"),
        (
            ["--data", "IMAGES", "--output_dir", "m", "--kl_weight", "1e-3"],
            2,
            "--kl_weight is for models with a posterior",
        ),
        (["--data", "IMAGES", "--output_dir", "m", "--kl_weight", "1,x"], 2, "'x' is not a valid float"),
        (["--data", "IMAGES", "--output_dir", "m", "--channels", "2,0"], 2, "--channels must be at least 1"),
        (
            ["--data", "IMAGES", "--output_dir", "m", "--channels", "2,4", "--kl_weight", "1,2"],
            2,
            "Only one of --kl_weight and --channels",
        ),
        (["--data", "IMAGES", "--output_dir", "m", "--lr", "nan"], 2, "--lr must be a finite number"),
        (["--data", "IMAGES", "--output_dir", "m", "--crop", "36"], 2, "--crop must be a multiple of"),
        (
            ["--data", "IMAGES", "--output_dir", "m", "--crop", "16", "--gan_weight", "1"],
            2,
            "--crop must be at least 32",
        ),
        (["--data", "IMAGES", "--output_dir", "no/where"], 6, "mkdir -p"),
        (["--data", "IMAGES", "--output_dir", "small.png"], 6, "is a file"),
        (["--data", "IMAGES", "--output_dir", "m", "--resume", "--overwrite"], 2, "can't be used together"),
    ],
)
def test_bad_input_is_one_line_and_its_code(invoke, images, small, options, code, words):
    one = small.parent / "one"
    one.mkdir()
    (one / "one.png").write_bytes(small.read_bytes())
    options = [{"IMAGES": str(images), "ONE": str(one)}.get(each, each) for each in options]
    found, out, err = invoke("train", *options)
    assert (found, out, err.count("\n")) == (code, "", 1) and words in err, err


def test_a_folder_with_a_training_is_not_overwritten_by_accident(invoke, images, kl, tmp_path):
    line = ["train", "--data", images, "--config", kl, "--output_dir", "made", "--steps", 2, *ARGUMENTS]
    assert invoke(*line)[0] == 0
    before = (tmp_path / "made" / "checkpoint.safetensors").read_bytes()
    code, _, err = invoke(*line)
    assert code == 6 and "--resume" in err
    code, _, err = invoke(*line, "--resume", "--seed", 5)
    assert code == 2 and "belongs to a different training: --seed 0 → 5." in err
    kl.write_text(json.dumps(TINY_KL | {"layers_per_block": 2}))
    code, _, err = invoke(*line, "--resume")
    assert code == 2 and "belongs to a different training: the content of --config." in err
    kl.write_text(json.dumps(TINY_KL))
    (tmp_path / "made" / "checkpoint.safetensors").write_bytes(before[:-100])
    code, _, err = invoke(*line, "--resume")
    assert code == 2 and "can't be read" in err
    assert invoke(*line, "--overwrite")[0] == 0


def test_a_model_config_that_is_none(invoke, images, tmp_path):
    for content, words in (
        ({"_class_name": "UNet2DModel"}, "not the config of a supported autoencoder"),
        ({"_class_name": ["AutoencoderKL"]}, "not the config of a supported autoencoder"),
        (TINY_KL | {"in_channels": 1}, "three channels"),
        (TINY_KL | {"out_channels": [3]}, "three channels"),
        (TINY_KL | {"block_out_channels": [8]}, "can't be built"),
    ):
        (tmp_path / "c.json").write_text(json.dumps(content))
        code, _, err = invoke("train", "--data", images, "--output_dir", "m", "--config", "c.json")
        assert code == 2 and words in err, err


@pytest.mark.parametrize("name", ["bundled", "small-kl"])
def test_presets_build(name):
    model = build(read_config(name))
    image = torch.rand(1, 3, 32, 32)
    output, _ = Autoencoding(model, 0.0)(image)
    assert output.shape == image.shape
    assert sum(each.numel() for each in model.parameters()) * 2 < 10e6
    assert build(read_config(name, channels=8)).config.latent_channels == 8
