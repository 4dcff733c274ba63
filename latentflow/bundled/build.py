"""Rebuild the bundled autoencoder from nothing but this repository: `python -m latentflow.bundled.build DIR`.

It is trained on `latentflow.generated` pictures alone. The seed and the number of steps are fixed, so that a rebuild
differs only by what another processor rounds differently.
"""

import argparse
import hashlib
import json
import math
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentflow.generated import picture

PICTURES, CROP, BATCH, STEPS, PEAK_LR, WARMUP, SEED = 3000, 64, 24, 12000, 2e-3, 300, 0
LATENT_NOISE = 0.03
CONFIG = {
    "in_channels": 3,
    "latent_channels": 4,
    "attention_head_dim": 32,
    "encoder_block_types": "ResBlock",
    "decoder_block_types": "ResBlock",
    "encoder_block_out_channels": (32, 48, 96, 192),
    "decoder_block_out_channels": (32, 48, 96, 192),
    "encoder_layers_per_block": (0, 1, 3, 2),
    "decoder_layers_per_block": (0, 3, 3, 2),
    "encoder_qkv_multiscales": ((), (), (), ()),
    "decoder_qkv_multiscales": ((), (), (), ()),
    "scaling_factor": 1.0,
}


def bank(count: int, seed: int) -> Tensor:
    """`count` generated pictures as one uint8 tensor (count, 3, 256, 256), drawn by all processors."""
    with multiprocessing.get_context("spawn").Pool() as pool:
        pictures = pool.map(picture, range(seed, seed + count), chunksize=25)
    return torch.stack([torch.from_numpy(np.array(each)).permute(2, 0, 1) for each in pictures])


def crops(pictures: Tensor, generator: torch.Generator, batch: int, crop: int) -> Tensor:
    """A batch of random crops in [-1, 1], mirrored, turned, half of them from pictures at half the scale."""
    chosen = []
    for _ in range(batch):
        index, mirror, turn, halve, top, left = torch.rand(6, generator=generator).tolist()
        span = crop * (2 if halve < 0.5 else 1)
        room = pictures.shape[-1] - span + 1
        y, x = int(top * room), int(left * room)
        patch = pictures[int(index * len(pictures)), :, y : y + span, x : x + span].float()
        if span != crop:
            patch = F.avg_pool2d(patch, 2)
        patch = patch.flip(-1) if mirror < 0.5 else patch
        chosen.append(patch.transpose(-1, -2) if turn < 0.5 else patch)
    return torch.stack(chosen) / 127.5 - 1


def distance(output: Tensor, target: Tensor) -> Tensor:
    """½·L1 + 6·MSE + ¼·L1 of the finite differences, on values in [0, 1]."""
    error = (output - target) / 2
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return 0.5 * error.abs().mean() + 6 * error.square().mean() + 0.25 * edges


def off_unit_variance(latent: Tensor) -> Tensor:
    """How far the channels of a batch of latents are from mean 0 and variance 1 and from being uncorrelated."""
    values = latent.transpose(0, 1).flatten(1)
    mean = values.mean(1)
    covariance = (values - mean[:, None]) @ (values - mean[:, None]).T / values.shape[1]
    return mean.square().mean() + (covariance - torch.eye(len(mean))).square().mean()


def train(folder: Path, steps: int, report: int = 200) -> dict[str, float]:
    """Train for `steps` steps, leaving a checkpoint now and then, and write the finished model to `folder`."""
    from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    model = AutoencoderDC(**CONFIG).to(memory_format=torch.channels_last)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.998))
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, betas=(0.9, 0.98), weight_decay=1e-3)
    pictures = bank(PICTURES, seed=1000)
    started, running = time.monotonic(), 0.0
    for step in range(steps):
        rate = PEAK_LR * min(1, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = rate
        image = crops(pictures, generator, BATCH, CROP).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            latent = model.encode(image).latent.float()
            noise = torch.randn(latent.shape, generator=generator) * LATENT_NOISE
            output = model.decode(latent + noise).sample.float()
        loss = distance(output, image) + 0.01 * off_unit_variance(latent)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        running += (output - image).detach().square().mean().item() / 4
        if (step + 1) % report == 0:
            psnr = -10 * math.log10(running / report)
            print(f"step {step + 1}/{steps}  train PSNR {psnr:.2f} dB  {time.monotonic() - started:.0f} s", flush=True)
            running = 0.0
        if (step + 1) % 2000 == 0 or step + 1 == steps:
            finish(average.module, pictures, folder)
    return {"steps": steps, "seconds": round(time.monotonic() - started)}


def finish(model: Any, pictures: Tensor, folder: Path) -> None:
    """Measure the scaling factor on the training pictures and write config and fp16 weights as diffusers does."""
    with torch.no_grad():
        latents = [model.encode(batch.float() / 127.5 - 1).latent for batch in pictures[:160].split(16)]
    scale = 1 / torch.cat(latents).std().item()
    copy = type(model).from_config({**model.config, "scaling_factor": round(scale, 5)})
    copy.load_state_dict(model.state_dict())
    copy.half().save_pretrained(folder)
    weights = folder / "diffusion_pytorch_model.safetensors"
    known = {weights.name: hashlib.sha256(weights.read_bytes()).hexdigest()}
    (folder / "hashes.json").write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    figures = train(arguments.folder, arguments.steps)
    print(json.dumps(figures))
