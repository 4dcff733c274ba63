"""What this machine, this installation and its caches are like, and what is wrong with them.

Nothing here may end in a traceback: whatever is broken, the other checks still run. So each check imports what it looks
at by itself, and an exception of any kind becomes the problem that is reported.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from latentflow import __version__
from latentflow.base.errors import LatentflowError, WeightsError, first_line
from latentflow.base.options import counted

if TYPE_CHECKING:
    from packaging.requirements import Requirement

NOT_FOR_USERS = ("dev",)  # extras
LITTLE_MEMORY = 2e9  # bytes; decoding 512 × 512 pixels takes about one
LITTLE_SPACE = 1e9
FEATURES = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "neon", "bf16", "sve")
VARIABLES = ("HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "TORCH_HOME", "IMAGEIO_FFMPEG_EXE")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination: what was looked at, what it is, and what is wrong with it, if anything is."""

    name: str
    text: str
    problem: str = ""
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at everything; raises nothing, and sends no request."""
    return [finding for check in CHECKS for finding in _guarded(check)]


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    name = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check()
    except LatentflowError as error:
        yield Finding(name, "broken", str(error.args[0]), error.remedy)
    except Exception as error:
        yield Finding(name, "broken", f"{type(error).__name__}: {first_line(error)}.", "Install latentflow again.")


def _program() -> Iterator[Finding]:
    yield Finding("latentflow", f"{__version__}, {Path(__file__).parent.parent}")
    yield Finding("Python", f"{platform.python_version()}, {sys.executable}, {platform.platform()}")
    named = [f"{name}={os.environ[name]}" for name in VARIABLES if os.environ.get(name)]
    yield Finding("environment", ", ".join(named) or "none of the variables that latentflow reads is set")


def _packages() -> Iterator[Finding]:
    """The packages that are installed with it, and those of its extras."""
    from packaging.requirements import Requirement

    try:
        every = [Requirement(text) for text in metadata.requires("latentflow") or []]
    except metadata.PackageNotFoundError:
        yield Finding("packages", "not checked: latentflow runs from a checkout and is not installed")
        return
    needed = [each for each in every if each.marker is None or each.marker.evaluate({"extra": ""})]
    yield _versions("packages", needed, "pip install --upgrade latentflow")
    for extra in sorted(metadata.metadata("latentflow").get_all("Provides-Extra") or []):
        if extra not in NOT_FOR_USERS:
            own = [each for each in every if each.marker and each.marker.evaluate({"extra": extra})]
            yield _versions(
                f"extra {extra}",
                [each for each in own if each not in needed],
                f'pip install --upgrade "latentflow[{extra}]"',
                optional=True,
            )


def _versions(name: str, wanted: list[Requirement], remedy: str, *, optional: bool = False) -> Finding:
    found, lacking = [], []
    for each in wanted:
        try:
            version = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            lacking.append(f"{each.name} is missing")
            continue
        found.append(f"{each.name} {version}")
        if not each.specifier.contains(version, prereleases=True):
            lacking.append(f"{each.name} {version} is not {each.specifier}")
    if optional and lacking and not found:
        return Finding(name, f"not installed ({remedy.replace(' --upgrade', '')})")
    return Finding(name, ", ".join(found) or "none", ", ".join(lacking), remedy if lacking else "")


def _torch() -> Iterator[Finding]:
    import torch

    yield Finding("torch", f"{torch.__version__}, {torch.__file__}")
    onednn = re.search(r"MKL-DNN v([\d.]+)|oneDNN v([\d.]+)", torch.__config__.show())
    version = next(filter(None, onednn.groups()), "") if onednn else ""
    text = f"oneDNN {version}".strip() if torch.backends.mkldnn.is_available() else "without oneDNN"
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    chosen = torch.backends.cpu.get_cpu_capability()
    yield Finding("kernels", f"{text}{f' up to {limit}' if limit else ''}; torch's own for {chosen}")


def _processor() -> Iterator[Finding]:
    import torch

    from latentflow.models.device import describe, free_memory

    ask = getattr(torch.cpu, "get_capabilities", None)  # missing in the oldest supported torch
    known = ask() if ask else {}
    features = [name for name in FEATURES if known.get(name)]
    here = torch.device("cpu")
    yield Finding("processor", f"{describe(here)['processor']}; {', '.join(features) or 'features unknown'}")
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    problem = f"torch uses {counted(threads, 'thread')} on {counted(allowed, 'processor')}" if threads > allowed else ""
    remedy = f"export OMP_NUM_THREADS={allowed}" if problem else ""
    yield Finding("threads", f"{threads} of {counted(allowed, 'processor')}", problem, remedy)
    free = free_memory(here)
    little = free is not None and free < LITTLE_MEMORY
    yield Finding(
        "memory",
        "unknown" if free is None else f"{free / 1e9:.1f} GB free",
        "It may be too little." if little else "",
        "Close other programs, or take a smaller --size." if little else "",
    )


def _dtype() -> Iterator[Finding]:
    import torch

    from latentflow.models.precision import timing_on

    timing = timing_on(torch.device("cpu"))
    if timing is None:
        yield Finding("dtype auto", "float32 on this processor, which has no instructions for bfloat16")
        return
    took = f"a convolution takes {timing.float32 * 1e3:.2f} ms in float32, {timing.bfloat16 * 1e3:.2f} in bfloat16"
    yield Finding("dtype auto", f"{timing.chosen} on this processor: {took}")


def _GPU() -> Iterator[Finding]:  # noqa: N802
    import torch

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            name = torch.cuda.get_device_name(number)
            yield Finding(f"cuda:{number}", f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free")
    elif torch.backends.mps.is_available():
        yield Finding("mps", "Apple's GPU")
    else:
        card = Path("/proc/driver/nvidia/version").exists()
        problem = "There is an NVIDIA driver, but torch finds no device." if card else ""
        yield Finding("GPU", "none", problem, "Install a torch for its version of CUDA." if card else "")


def _hub_cache() -> Iterator[Finding]:
    """The models in the hub's cache; a link without a file and a download that broke off are problems."""
    from latentflow.models.hub import cache_folder

    folder = cache_folder()
    if not folder.is_dir():
        yield Finding("hub cache", f"{folder} is not there yet")
        return
    models = sorted(folder.glob("models--*"))
    yield Finding("hub cache", f"{folder}, {counted(len(models), 'model')}")
    for model in models:
        files = [path for path in model.rglob("*") if path.is_file() and not path.is_symlink()]
        size = sum(path.stat().st_size for path in files)
        broken = [path for path in model.rglob("*") if path.is_symlink() and not path.exists()]
        broken += [path for path in files if path.suffix == ".incomplete"]
        repo = model.name.removeprefix("models--").replace("--", "/")
        problem = f"{broken[0].name} is incomplete" if broken else ""
        yield Finding(f"  {repo}", f"{size / 1e6:.1f} MB", problem, f"Delete {model}." if broken else "")


def _weights() -> Iterator[Finding]:
    from latentflow.models.config import DEFAULT_VAE
    from latentflow.models.weights import ALEXNET, INCEPTION, VGG16, bundled, present

    yield Finding("bundled", f"whole, {bundled().path}")
    try:
        found = present(DEFAULT_VAE)
        yield Finding("default", f"{DEFAULT_VAE}: {found.path if found else 'not on this machine'}")
    except WeightsError as error:
        yield Finding("default", DEFAULT_VAE, str(error.args[0]), error.remedy)
    for network in (VGG16, ALEXNET, INCEPTION):
        there = network.path.exists()
        try:
            if there:
                network.verify()
            yield Finding(network.name, str(network.path) if there else "not on this machine")
        except WeightsError as error:
            yield Finding(network.name, str(network.path), str(error.args[0]), error.remedy)


def _ffmpeg() -> Iterator[Finding]:
    from latentflow.sinks.ffmpeg import ffmpeg_executable

    program = ffmpeg_executable()
    said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=20, check=True).stdout
    yield Finding("ffmpeg", f"{' '.join(said.split()[1:3])}, {program}")


def _folders() -> Iterator[Finding]:
    """The folders that are written into."""
    from latentflow.models.hub import cache_folder
    from latentflow.models.weights import VGG16

    places = {
        "current folder": Path.cwd(),
        "temporary files": Path(tempfile.gettempdir()),
        "hub cache is at": cache_folder(),
        "torch cache is at": VGG16.path.parent,
    }
    for name, folder in places.items():
        there = next(each for each in (folder, *folder.parents) if each.exists())
        try:
            with tempfile.TemporaryFile(dir=there) as file:
                file.write(b"latentflow")
        except OSError as error:
            yield Finding(name, str(folder), f"It can't be written into ({error.strerror}).", _writable(name))
            continue
        free = shutil.disk_usage(there).free
        little = free < LITTLE_SPACE
        problem, remedy = ("Its disk is almost full.", f"Free space at {there}.") if little else ("", "")
        yield Finding(name, f"{folder}, {free / 1e9:.1f} GB free", problem, remedy)


def _writable(name: str) -> str:
    variables = {"temporary files": "TMPDIR", "hub cache is at": "HF_HOME", "torch cache is at": "TORCH_HOME"}
    return f"Set {variables[name]} to another folder." if name in variables else "Go to another folder."


CHECKS = (
    _program,
    _packages,
    _torch,
    _processor,
    _dtype,
    _GPU,
    _hub_cache,
    _weights,
    _ffmpeg,
    _folders,
)
