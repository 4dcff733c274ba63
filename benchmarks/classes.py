"""Seconds and peak memory of a step of published architectures with random weights, beside diffusers' own forward and
backward pass: `python benchmarks/classes.py [SIZE]`.

Each is measured in a process of its own, by the time that the processor spends on one thread, so that other programs
change little.
"""

import json
import resource
import subprocess
import sys
import time
from statistics import median
from typing import Any

import torch

from latentflow.models.autoencoder import Autoencoder
from latentflow.models.geometry import geometry_of
from latentflow.models.served import SERVED

STEPS = 2
# The configs that are published with the weights: defaults of the classes where nothing is said.
PUBLISHED: dict[str, dict[str, Any]] = {
    "FLUX.2": {"_class_name": "AutoencoderKLFlux2"},
    "Qwen-Image": {"_class_name": "AutoencoderKLQwenImage"},
    "Wan 2.1": {"_class_name": "AutoencoderKLWan"},
    "HunyuanImage 2.1": {
        "_class_name": "AutoencoderKLHunyuanImage",
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 64,
        "block_out_channels": [128, 256, 512, 512, 1024, 1024],
        "layers_per_block": 2,
        "spatial_compression_ratio": 32,
        "sample_size": 384,
        "scaling_factor": 0.75289,
    },
}


def measure(kind: str, name: str, size: int) -> dict[str, float]:
    """Median processor seconds of a forward and backward pass, and the process's peak memory in bytes."""
    config = PUBLISHED[name]
    served = SERVED[config["_class_name"]]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = served.find(config["_class_name"]).from_config(config).eval().requires_grad_(False)
    if kind == "diffusers":
        time_axis = [1] if served.adapter == "causal" else []
        shape = (1, model.config[served.channels], *time_axis, *[size // served.stride(model.config)] * 2)
        if served.adapter == "Packed":
            shape = (1, model.config.latent_channels, size // 8, size // 8)

        def decode(latent: torch.Tensor) -> torch.Tensor:
            return model.decode(latent).sample
    else:
        adapted = served.adapted(model)
        for each in adapted.parameters():
            if each.ndim == 4:
                each.data = each.data.contiguous(memory_format=torch.channels_last)
        autoencoder = Autoencoder(adapted, geometry_of(adapted), name)
        shape, decode = (1, *autoencoder.geometry.latent_shape(size, size)), autoencoder.decode
    seconds = []
    for _ in range(1 + STEPS):
        latent = torch.randn(shape, requires_grad=True)
        began = time.process_time()
        decode(latent).square().mean().backward()
        seconds.append(time.process_time() - began)
    return {"seconds": median(seconds[1:]), "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def main(size: int) -> None:
    """Print a row for each architecture."""
    print("| | diffusers | latentflow | times as fast | memory |\n|---|---|---|---|---|")
    for name in PUBLISHED:
        found = {}
        for kind in ("diffusers", "latentflow"):
            command = [sys.executable, __file__, kind, name, str(size)]
            found[kind] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        one, two = found["diffusers"], found["latentflow"]
        print(
            f"| {name} | {one['seconds']:.2f} s, {one['peak'] / 1e9:.1f} GB | {two['seconds']:.2f} s, "
            f"{two['peak'] / 1e9:.1f} GB | {one['seconds'] / two['seconds']:.2f} | {two['peak'] / one['peak']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 256)
