"""The only place that asks for CUDA or MPS, the thread count and the processor's name."""

import platform
from pathlib import Path

import torch

from latentflow.errors import InputError


def pick_device(name: str = "auto") -> torch.device:
    """The device `name` (auto, cpu, cuda, cuda:n, mps); raises `InputError` when this machine doesn't have it."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device is auto, cpu, cuda[:n] or mps, not {name!r}.") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"--device is auto, cpu, cuda[:n] or mps, not {name!r}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {name}: this machine shows {torch.cuda.device_count()} CUDA devices.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("--device mps: this machine has no MPS device.")
    return device


def describe(device: torch.device) -> dict[str, str | int]:
    """Device, processor and thread count: what a repeated run must share to give the same bytes."""
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
    """Whether the device computes with bf16 and doesn't only store it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return False
    ask = getattr(torch.cpu, "get_capabilities", None)  # newer than the oldest torch that is served
    known = ask() if ask else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16") or known.get("bf16"))


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """What an autoencoder computes in on the device: float32, bfloat16, or auto, which is bfloat16 where the device
    computes with it; elsewhere on CUDA auto lets matrix products round to TF32. CUDA is told to look for the fastest
    convolutions, since a run has one size of picture."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    if name == "auto":
        if computes_bf16(device):
            return torch.bfloat16
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.allow_tf32 = True
        return torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on the device; None where nobody knows."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own, to be had
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    import psutil

    free = int(psutil.virtual_memory().available)
    for limit, used in _CONTROL_GROUPS:  # a container's limit, which the machine's figures don't show
        try:
            free = min(free, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # there is none, or "max"
            continue
    return free


_CONTROL_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
