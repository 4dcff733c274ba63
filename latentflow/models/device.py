"""Devices: choosing one, what it can compute with, its free memory, and its name."""

import platform
from pathlib import Path

import torch

from latentflow.base.errors import InputError


def pick_device(name: str = "auto") -> torch.device:
    """The device named auto, cpu, cuda, cuda:n or mps; auto takes CUDA, then MPS, then the CPU.

    Raises `InputError` for another name and for a device that this machine doesn't have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"`device` must be auto, cpu, cuda[:n] or mps, not {name!r}.") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"`device` must be auto, cpu, cuda[:n] or mps, not {name!r}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"`device` {name}: the number of CUDA devices is {torch.cuda.device_count()}.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("`device` mps: this machine has no MPS device.")
    return device


def describe(device: torch.device) -> dict[str, str | int]:
    """Device, processor and number of threads, on which the last bits of a result depend."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {"device": str(device), "processor": name, "threads": torch.get_num_threads()}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def computes_bf16(device: torch.device) -> bool:
    """Tell whether the device has instructions for bf16, rather than emulating them."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return False
    ask = getattr(torch.cpu, "get_capabilities", None)  # missing in the oldest supported torch
    known = ask() if ask else {}
    if known.get("avx512_bf16") or known.get("amx_bf16"):
        # kernels held below the processor's own, as by ATEN_CPU_CAPABILITY, refuse attention in bf16
        return torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return bool(known.get("bf16"))


def use_fastest_kernels(device: torch.device) -> None:
    """Change the CUDA settings of this process for speed: cuDNN tries out its convolutions, and matrix products use
    TF32 on devices without bf16. For programs that own their process."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        if not computes_bf16(device):
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.allow_tf32 = True


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on the device, or None if that is unknown."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # held by torch, but free
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    import psutil

    free = int(psutil.virtual_memory().available)
    for limit, used in _CONTROL_GROUPS:  # the limit of a container
        try:
            free = min(free, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return free


_CONTROL_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
