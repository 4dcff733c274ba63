"""What `performance.py` measures: each function in a process of its own, `python measuring.py '["work", 256]'`."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from naive import naive
from photographs import square
from torch import Tensor

from latentflow import Autoencoder, Objective, initial_latent, load_autoencoder, optimize
from latentflow.models.autoencoder import read_geometry
from latentflow.models.device import pick_device
from latentflow.models.memory import update_bytes
from latentflow.models.precision import pick_dtype
from latentflow.models.weights import find_weights

ROOT = Path(__file__).parent.parent
STEADY = 3  # updates timed, after a first one
Row = dict[str, Any]
SD_CONFIG = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
}


def full(dtype: str = "auto", *, frozen: bool = True) -> Autoencoder:
    """The architecture of sd-vae-ft-mse with random weights; as it is built, or as latentflow prepares it."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    torch.manual_seed(0)
    model = AutoencoderKL(**SD_CONFIG).eval()
    device = pick_device()
    computing = torch.float32
    if frozen:
        computing = pick_dtype(dtype, device)
        model = torch.nn.Module.to(model.requires_grad_(False), computing, memory_format=torch.channels_last)
    model = model.to(device)
    geometry = read_geometry("AutoencoderKL", model.config, device)
    return Autoencoder(model, geometry, "random", dtype=computing)


def update(kind: str, size: int, steady: int) -> Row:
    """Seconds of an update and the process's peak memory; of the full architecture, size × size pixels."""
    base = _peak()
    autoencoder = full(frozen=kind != "naive")
    target = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)).to(autoencoder.device)
    latent = initial_latent("normal", autoencoder, target, seed=0)
    seconds: list[float] = []
    expected = 0
    if kind == "naive":
        began = [time.perf_counter()]

        def after(step: int, picture: Tensor) -> bool:
            seconds.append(time.perf_counter() - began[-1])
            began.append(time.perf_counter())
            return len(seconds) > steady

        naive(autoencoder.model, target * 2 - 1, latent / autoencoder.geometry.scale, steady + 1, 0.1, after)
    else:
        if kind == "checkpointed":
            autoencoder.checkpoint_decoder()
        else:
            expected = update_bytes(autoencoder, size, size)
        for step in optimize(autoencoder, Objective("mse", target), latent, steps=steady + 1):
            seconds.append(step.seconds)
        seconds.pop()
    best = median(seconds[1:] or seconds)
    return {"seconds": best, "peak_bytes": _peak(), "base_bytes": base, "expected_bytes": expected}


def work(size: int) -> Row:
    """Floating-point operations of an update of the full architecture, and the rate of matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    autoencoder = full()
    latent = torch.randn(1, *autoencoder.geometry.latent_shape(size, size), device=autoencoder.device)
    latent.requires_grad_()
    with FlopCounterMode(display=False) as counter:
        autoencoder.decode(latent).sum().backward()
    one = torch.randn(4096, 4096, device=autoencoder.device, dtype=autoencoder.dtype)
    rates = []
    for _ in range(6):
        began = time.perf_counter()
        one @ one
        _wait(autoencoder.device)
        rates.append(2 * 4096**3 / (time.perf_counter() - began))
    return {"operations": counter.get_total_flops(), "rate": max(rates), "dtype": autoencoder.precision}


def race(rounds: int) -> Row:
    """Seconds and passes from a random start to the PSNR of the encoder, and to what the naive loop has after 100
    steps; the bundled autoencoder, 256 × 256."""
    device = pick_device()
    ours = load_autoencoder(find_weights("bundled"), device, "auto")
    plain = load_autoencoder(find_weights("bundled"), device)
    plain.model.requires_grad_(True)
    target = square("coffee").to(device)
    objective = Objective("mse", target)
    latent = initial_latent("normal", ours, target, seed=0)

    def psnr(image: Tensor) -> float:
        return float(-10 * (image.clamp(0, 1) - target).square().mean().log10())

    with torch.no_grad():
        encoder = psnr(ours.decode(ours.encode(target)))
    scale = float(ours.geometry.scale.mean())

    def usual(steps: int, goal: float) -> tuple[float, int, float]:
        best = [0.0]
        began = time.perf_counter()

        def after(step: int, picture: Tensor) -> bool:
            best[0] = max(best[0], psnr(picture / 2 + 0.5))
            return best[0] >= goal

        raw = latent / ours.geometry.scale + ours.geometry.shift
        frames = naive(plain.model, target * 2 - 1, raw, steps, 0.1 / scale, after)
        return time.perf_counter() - began, len(frames), best[0]

    def method(goal: float, init: str = "normal", steps: int = 200, **options: Any) -> Row:
        best, count, passes = 0.0, 0, 0
        began = time.perf_counter()
        begin = latent if init == "normal" else initial_latent(init, ours, target)
        for step in optimize(ours, objective, begin, steps=steps, **options):
            best, count, passes = max(best, float(step.psnr)), step.index, passes + step.passes
            if best >= goal:
                break
        return {"seconds": time.perf_counter() - began, "steps": count, "passes": passes, "psnr": best}

    never = float("inf")
    found: Row = {"encoder_psnr": encoder, "naive": {}, "methods": {}}
    hundred = usual(100, never)[2]
    found["naive_100_psnr"] = hundred
    found["naive"]["best of 200"] = usual(200, never)[2]
    ways: dict[str, Row] = {
        "gradient": {"method": "gradient"},
        "gradient_free": {"method": "gradient_free", "lr": 1.0, "steps": 12},
        "hybrid, 20 steps": {"method": "hybrid", "steps": 20},
        "hybrid, 200 steps": {"method": "hybrid"},
        "gradient from the encoder": {"method": "gradient", "init": "encode", "lr": 0.04},
    }
    for name, goal in (("encoder", encoder), ("naive 100", hundred)):
        usuals = []
        each: dict[str, list[Row]] = {way: [] for way in ways}
        for _ in range(rounds):
            usuals.append(usual(200, goal)[0])
            for way, options in ways.items():
                each[way].append(method(goal, **options))
        found["naive"][name] = median(usuals)
        for way, runs in each.items():
            seconds = median(run["seconds"] for run in runs)
            found["methods"].setdefault(way, {})[name] = runs[0] | {
                "seconds": seconds,
                "reached": runs[0]["psnr"] >= goal,
                "ratio": median(usuals) / seconds,
            }
    for way, options in ways.items():
        found["methods"][way]["best"] = method(never, **options)["psnr"]
    return found


def writer(rounds: int, steps: int) -> Row:
    """What writing every step costs, against writing two; the whole command, bundled autoencoder, 512 × 512."""
    seconds: dict[str, list[float]] = {"every step": [], "two": []}
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "cli.py", "--image_path", "examples/spheres.png", "--weights", "bundled", "--quiet"]
        line += ["--fit", "cover", "--steps", str(steps), "--seed", "0", "--output_path", f"{folder}/x.gif"]
        for _ in range(rounds):
            for name, skip in (("every step", 1), ("two", steps)):
                seconds[name].append(_timed([*line, "--skip_step", str(skip)]))
    medians = {name: median(values) for name, values in seconds.items()}
    return medians | {"ratio": median(one / two for one, two in zip(*seconds.values(), strict=True))}


def frames(count: int) -> Row:
    """Peak memory of a run that writes so many frames; the bundled autoencoder, 64 × 64."""
    from latentflow import open_frames, run_sinks
    from latentflow.sinks.background import Background

    autoencoder = load_autoencoder(find_weights("bundled"))
    target = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    latent = initial_latent("normal", autoencoder, target, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        records = optimize(autoencoder, Objective("mse", target), latent, steps=count)
        run_sinks(records, [Background(open_frames(f"{folder}/x.gif"))])
    return {"peak_bytes": _peak()}


def cuda() -> Row:
    """Images a second and memory at 512 × 512 on a GPU, by batch and with and without compiling."""
    found: Row = {}
    for batch in (1, 8, 32):
        for compiled in (False, True):
            torch.cuda.reset_peak_memory_stats()
            autoencoder = full()
            if compiled:
                autoencoder.compile_decoder()
            target = torch.rand(batch, 3, 512, 512, device=autoencoder.device)
            latent = initial_latent("normal", autoencoder, target, seed=0)
            began, first = time.perf_counter(), 0.0
            for step in optimize(autoencoder, Objective("mse", target), latent, steps=20):
                if step.index == 4:
                    _wait(autoencoder.device)
                    first = time.perf_counter()
            _wait(autoencoder.device)
            found[f"batch {batch}{', compiled' if compiled else ''}"] = {
                "images_a_second": 16 * batch / (time.perf_counter() - first),
                "until_fifth_update": first - began,
                "peak_bytes": torch.cuda.max_memory_allocated(),
            }
    return found


MEASURED: dict[str, Callable[..., Row]] = {each.__name__: each for each in (update, work, race, writer, frames, cuda)}


def measure(name: str, *arguments: Any) -> Row:
    """Call a function of `MEASURED` in a process of its own."""
    line = [sys.executable, __file__, json.dumps([name, *arguments])]
    done = subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.PIPE, env=_environment())
    found: Row = json.loads(done.stdout)
    return found


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def _timed(line: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True, env=_environment())
    return time.perf_counter() - began


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    asked, *values = json.loads(sys.argv[1])
    print(json.dumps(MEASURED[asked](*values)))
