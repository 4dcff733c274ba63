"""The trainer: its data, its terms, its resumption, its folder."""

import json
import math
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from latentflow.interrupts import Interrupts
from latentflow.models.autoencoder import load_autoencoder
from latentflow.models.networks import Networks
from latentflow.models.weights import find_weights
from latentflow.pictures.files import cover, to_tensor
from latentflow.state_files import unpack
from latentflow.training.config import TrainConfig
from latentflow.training.data import Folder
from latentflow.training.gan import PatchDiscriminator, adaptive_weight, hinge, last_layer
from latentflow.training.models import Autoencoding, build, latent_term, off_unit_variance, read_config
from latentflow.training.plan import make_train_plan
from latentflow.training.run import train
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
QUICK = {"batch": 4, "crop": 32, "precision": "fp32", "workers": 0, "weights": "bundled"}
ARGUMENTS = [word for key, value in QUICK.items() for word in (f"--{key}", str(value))]


@pytest.fixture
def kl(tmp_path):
    """The config.json of a tiny autoencoder with a posterior."""
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY_KL))
    return path


def trainer(images, model_config=TINY_KL, **options):
    config = TrainConfig(**{"data": "x", "output_dir": "y", "steps": 6, **QUICK, **options})
    return Trainer(config, model_config, Folder(images, config.seed), Networks("bundled"))


def states_equal(one, two):
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(states_equal(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(states_equal, one, two))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


# Terms


def test_kl_and_reconstruction_are_weighed_as_sums_over_an_image():
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
    ours = error.mean(dim=(1, 2, 3)) + latent_term(config, kl, posterior=True)
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
    output, cost = Autoencoding(model, 0.1)(image)
    assert output.shape == image.shape and cost.shape == (2,)
    white = torch.randn(8, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    assert float(off_unit_variance(white)) < 1e-3
    assert float(off_unit_variance(white * 3)) > 1 and float(off_unit_variance(white + 3)) > 1
    assert float(off_unit_variance(white[:, :1].expand(-1, 4, -1, -1))) > 0.5


def test_the_hinge_loss_and_the_adaptive_weight():
    real, made = torch.tensor([2.0, 0.5]), torch.tensor([-2.0, 0.0])
    assert float(hinge(real, made)) == pytest.approx(0.5 * (0.25 + 0.5))
    layer = torch.ones(2, requires_grad=True)
    weight = adaptive_weight((3 * layer).sum(), (-0.5 * layer).sum(), layer)
    assert float(weight) == pytest.approx(3 * math.sqrt(2) / (0.5 * math.sqrt(2) + 1e-4))
    model = build(TINY_KL)
    assert last_layer(model) is model.decoder.conv_out.weight


def test_the_discriminator_sees_patches_each_picture_alone():
    judge = PatchDiscriminator(width=8)
    images = torch.rand(3, 3, 64, 64)
    scores = judge(images)
    assert scores.shape[:2] == (3, 1) and 1 < scores.shape[2] < 16
    assert torch.allclose(scores[1:2], judge(images[1:2]), atol=1e-5)


def test_the_adversarial_term_trains_stably(images, monkeypatch):
    """Two hundred steps: nothing explodes, the discriminator learns, and the pictures stay."""
    monkeypatch.setattr("latentflow.training.trainer.PatchDiscriminator", lambda: PatchDiscriminator(width=16))
    training = trainer(images, steps=220, gan_weight=0.5, gan_start=60, lr=3e-3, batch=2, validate_every=1000)
    records = list(training.updates())
    assert "adversarial" not in records[59].parts and "adversarial" in records[60].parts
    psnrs = torch.stack([record.psnr.mean() for record in records])
    judged = torch.stack([record.parts["discriminator"].mean() for record in records[60:]])
    assert torch.isfinite(psnrs).all() and torch.isfinite(judged).all()
    assert judged[-60:].mean() < judged[:10].mean()  # the discriminator learns
    assert psnrs[-60:].mean() > psnrs[50:60].mean() - 1
    assert all(0 <= float(record.parts["adaptive"].mean()) <= 1e4 for record in records[60:])


# The loop


def test_training_improves_and_averages(images):
    records = list((training := trainer(images, TINY_DC, steps=150, lr=5e-3, validate_every=75)).updates())
    assert [record.index for record in records] == list(range(1, 151))
    psnrs = [float(record.psnr.mean()) for record in records]
    assert np.mean(psnrs[-20:]) > np.mean(psnrs[:20]) + 3
    assert records[0].lr < records[14].lr and records[-1].lr < records[75].lr / 20  # a warm-up, then a cosine to zero
    looked = [record for record in records if record.validation]
    assert [record.index for record in looked] == [75, 150] and looked[1].sheet.shape == (1, 3, 512, 256)
    assert looked[1].validation["psnr"] > looked[0].validation["psnr"]
    one, two = last_layer(training.average.module), last_layer(training.model)
    assert not torch.equal(one, two) and torch.allclose(one, two, atol=0.05)


def test_an_interrupted_and_an_uninterrupted_training_are_the_same_bit_for_bit(images):
    options = {"gan_weight": 0.3, "gan_start": 2}
    whole = trainer(images, **options)
    list(whole.updates())
    first = trainer(images, **options)
    for record in first.updates(workers=1):
        if record.index == 3:
            break
    torch.rand(5)  # what happens in between changes nothing
    second = trainer(images, **options)
    second.restore(first.state())
    assert [record.index for record in second.updates()] == [4, 5, 6]
    one, two = whole.state(), second.state()
    assert one.pop("seconds") and two.pop("seconds")
    assert states_equal(one, two)


def test_time_ends_a_training_and_its_learning_rate(images):
    training = trainer(images, steps=10**6, max_minutes=0.02, validate_every=10**6)
    records = list(training.updates())
    assert 2 < len(records) < 10**5
    assert training.seconds == pytest.approx(1.2, abs=0.6)
    assert records[-1].lr < 0.2 * max(record.lr for record in records)
    assert records[-1].validation and records[-1].sheet is not None


def test_a_perceptual_term_trains(images):
    records = list(trainer(images, steps=2, loss_type="l1 + 0.1*lpips").updates())
    assert set(records[0].parts) == {"l1", "lpips[bundled]", "kl"}


# The command


def test_the_command_leaves_a_folder_that_everybody_reads(invoke, images, kl, small, tmp_path):
    code, out, err = invoke(
        *("train", "--data", images, "--config", kl, "--output_dir", "made", "--steps", 8, "--validate_every", 4),
        *ARGUMENTS,
    )
    assert code == 0, err
    folder = tmp_path / "made"
    assert "4 096 →" not in out and "786 432 → 65 536 for 512 × 512 pixels: 12 ×" in out
    assert "held-back" in out and "scaling" in out and "--vae made" in out
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


def test_a_killed_training_goes_on_as_if_nothing_had_happened(images, kl, tmp_path):
    """kill −9 between two checkpoints; what follows is bit for bit what an uninterrupted training does."""

    def line(folder, *more):
        options = ["--data", images, "--config", kl, "--output_dir", folder, "--steps", 60, "--checkpoint_every", 10]
        return [sys.executable, str(ROOT / "cli.py"), "train", *map(str, options), *ARGUMENTS, "--quiet", *more]

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(line(killed), cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE)
    metrics = killed / "metrics.jsonl"
    deadline = time.monotonic() + 90
    while not (metrics.exists() and metrics.read_text().count("\n") >= 23):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert (killed / "checkpoint.safetensors").exists() and not (killed / "config.json").exists()
    again = subprocess.run(line(killed, "--resume"), cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0 and "Going on from step " in again.stderr, again.stderr
    subprocess.run(line(whole), cwd=tmp_path, check=True, capture_output=True, timeout=120)
    states = [unpack(folder / "checkpoint.safetensors")["training"] for folder in (killed, whole)]
    assert all(state.pop("seconds") for state in states)
    assert states_equal(*states)
    names = ("diffusion_pytorch_model.safetensors", "config.json")
    assert all((killed / name).read_bytes() == (whole / name).read_bytes() for name in names)
    steps = [json.loads(row)["step"] for row in metrics.read_text().splitlines()]
    assert steps == list(range(1, 61))


def test_a_stopped_training_leaves_its_model_and_goes_on(images, kl, tmp_path):
    config = TrainConfig(
        data=str(images), config=str(kl), output_dir=str(tmp_path / "made"), steps=12, **QUICK | {"workers": 1}
    )

    class Stopping(Interrupts):
        def watch(self, records):
            for record in super().watch(records):
                if record.index == 5:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield record

    with Stopping() as interrupts:
        report = train(make_train_plan(config), interrupts, lambda line: None, quiet=True)
    assert report.error.exit_code == 143 and report.step == 5
    assert not multiprocessing.active_children()  # though the error with its traceback lives on in the report
    assert (tmp_path / "made" / "config.json").exists()
    from dataclasses import replace

    with Interrupts() as interrupts:
        report = train(make_train_plan(replace(config, resume=True)), interrupts, lambda line: None, quiet=True)
        assert report.error is None and report.step == 12
        done = train(make_train_plan(replace(config, resume=True)), interrupts, lambda line: None, quiet=True)
    assert done.step == 12 and done.compression == report.compression


def test_ctrl_c_is_one_line_though_workers_hear_it_too(images, kl, tmp_path):
    line = [sys.executable, str(ROOT / "cli.py"), "train", "--data", str(images), "--config", str(kl), "--quiet"]
    line += ["--output_dir", "made", "--steps", "100000", *ARGUMENTS, "--workers", "2"]
    process = subprocess.Popen(line, cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE, text=True)
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
    assert code == 2 and "can't be taken" in err and err.count("\n") == 1


def test_a_sweep_draws_rate_against_distortion(invoke, images, kl, tmp_path):
    code, out, err = invoke(
        *("train", "--data", images, "--config", kl, "--output_dir", "swept", "--steps", 60, "--lr", 3e-3),
        *("--kl_weight", "0,1e-2,10", *ARGUMENTS),
    )
    assert code == 0, err
    reports = [
        json.loads((tmp_path / "swept" / name / "report.json").read_text())["compression"]
        for name in ("kl_weight=0", "kl_weight=0.01", "kl_weight=10")
    ]
    rates = [report["bits_per_pixel"] for report in reports]
    assert rates[0] > rates[1] > rates[2]  # a heavier KL term leaves fewer bits
    assert reports[0]["psnr_at_rate"] > reports[2]["psnr_at_rate"]
    assert out.count("\n") == 5 and (tmp_path / "swept" / "sweep.md").read_text() == out
    with Image.open(tmp_path / "swept" / "sweep.png") as figure:
        assert figure.size[0] > 600 and figure.convert("RGB").getcolors(10**6)[50:]


def test_a_sweep_over_channels(invoke, images, kl):
    code, out, err = invoke(
        *("train", "--data", images, "--config", kl, "--output_dir", "swept", "--steps", 2, "--json"),
        *("--channels", "2,4", *ARGUMENTS),
    )
    assert code == 0, err
    assert [report["compression"]["ratio"] for report in json.loads(out)] == [24, 12]


def test_several_processes_train_one_model(images, tmp_path):
    """Two processes, as `accelerate launch` starts them: the gradients of one process that has their samples; the main
    one writes."""
    undisturbed = {"latent_noise": 0.0, "latent_weight": 0.0, "gan_weight": 0.5, "gan_start": 3}
    (tmp_path / "dc.json").write_text(json.dumps(TINY_DC))
    line = [sys.executable, "-m", "latentflow", "train", "--data", str(images), "--config", "dc.json", "--steps", "4"]
    line += ["--output_dir", "made", "--device", "cpu", *ARGUMENTS]
    line += [word for key, value in undisturbed.items() for word in (f"--{key}", str(value))]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    shared |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            line,
            cwd=tmp_path,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
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
        (["--data", "small.png", "--output_dir", "m"], 2, "is a file; a folder of images is wanted"),
        (["--data", ".", "--output_dir", "m"], 2, "holds 1 images"),
        (["--data", "IMAGES", "--output_dir", "m", "--config", "bundle"], 2, "Did you mean bundled?"),
        (["--data", "IMAGES", "--output_dir", "m", "--config", "small.png"], 2, "can't be read"),
        (["--data", "IMAGES", "--output_dir", "m", "--loss_type", "l1 + nix"], 2, "no loss named 'nix'"),
        (["--data", "IMAGES", "--output_dir", "m", "--kl_weight", "1e-3"], 2, "for models with a posterior"),
        (["--data", "IMAGES", "--output_dir", "m", "--kl_weight", "1,x"], 2, "'x' is not a valid float"),
        (["--data", "IMAGES", "--output_dir", "m", "--channels", "2,0"], 2, "--channels must be at least 1"),
        (["--data", "IMAGES", "--output_dir", "m", "--channels", "2,4", "--kl_weight", "1,2"], 2, "over one option"),
        (["--data", "IMAGES", "--output_dir", "m", "--lr", "nan"], 2, "--lr must be a finite number"),
        (["--data", "IMAGES", "--output_dir", "m", "--crop", "36"], 2, "--crop"),
        (["--data", "IMAGES", "--output_dir", "m", "--crop", "16", "--gan_weight", "1"], 2, "--crop"),
        (["--data", "IMAGES", "--output_dir", "no/where"], 6, "mkdir -p"),
        (["--data", "IMAGES", "--output_dir", "small.png"], 6, "is a file"),
        (["--data", "IMAGES", "--output_dir", "m", "--resume", "--overwrite"], 2, "exclude each other"),
    ],
)
def test_bad_input_is_one_line_and_its_code(invoke, images, small, options, code, words):
    options = [str(images) if each == "IMAGES" else each for each in options]
    found, out, err = invoke("train", *options)
    assert (found, out, err.count("\n")) == (code, "", 1) and words in err, err


def test_a_folder_with_a_training_is_not_overwritten_by_accident(invoke, images, kl, tmp_path):
    line = ["train", "--data", images, "--config", kl, "--output_dir", "made", "--steps", 2, *ARGUMENTS]
    assert invoke(*line)[0] == 0
    before = (tmp_path / "made" / "checkpoint.safetensors").read_bytes()
    code, _, err = invoke(*line)
    assert code == 6 and "--resume" in err
    code, _, err = invoke(*line, "--resume", "--seed", 5)
    assert code == 2 and "seed 0 → 5" in err
    (tmp_path / "made" / "checkpoint.safetensors").write_bytes(before[:-100])
    code, _, err = invoke(*line, "--resume")
    assert code == 2 and "can't be read" in err
    assert invoke(*line, "--overwrite")[0] == 0


def test_a_model_config_that_is_none(invoke, images, tmp_path):
    for content, words in (
        ({"_class_name": "UNet2DModel"}, "no autoencoder that is served"),
        (TINY_KL | {"in_channels": 1}, "three channels"),
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
