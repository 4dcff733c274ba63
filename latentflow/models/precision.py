"""The type that an autoencoder computes in, chosen by a measurement where the processor could compute in two.

Instructions for bfloat16 don't make it fast: with some builds of torch its convolutions take 4 to 16 times as long on a
CPU as those of float32. So `auto` times one small convolution in both, forward and backward, and remembers the figures
beside the hub's cache, for this processor, this torch and these threads.
"""

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from latentflow.base.errors import InputError, OutputError
from latentflow.base.files import replacing
from latentflow.models.device import computes_bf16, describe

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FILE = "latentflow_precision.json"  # in HF_HOME
SLOWER = 1.25  # times as long as float32: more than that, and bfloat16 isn't taken
CHANNELS, SIDE = 64, 32  # of the convolution that is timed
SECONDS = 0.04  # for each type, after the first try
FEWEST = 5  # tries: on a busy machine the first few may all wait for another process
_measured: dict[str, "Timing"] = {}


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that one small convolution took, forward and backward."""

    float32: float
    bfloat16: float

    @property
    def faster(self) -> float:
        """The time in float32 over that in bfloat16."""
        return self.float32 / self.bfloat16

    @property
    def chosen(self) -> str:
        """The name of the type that `auto` takes."""
        return "bfloat16" if self.faster * SLOWER >= 1 else "float32"

    def __str__(self) -> str:
        if self.faster >= 1:
            return f"bfloat16 is {self.faster:.1f} times as fast as float32 here: `dtype` auto takes {self.chosen}."
        return f"bfloat16 takes {1 / self.faster:.1f} times as long as float32 here: `dtype` auto takes {self.chosen}."


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the type that an autoencoder computes in: float32, bfloat16, or auto.

    On a GPU, auto is bfloat16 where the device has instructions for it; on a CPU with such instructions it is what the
    measurement says; else it is float32. Raises `InputError` for another name.
    """
    if name == "auto":
        timing = timing_on(device)
        return DTYPES[timing.chosen] if timing else (torch.bfloat16 if computes_bf16(device) else torch.float32)
    if name not in DTYPES:
        raise InputError(f"`dtype` is auto, {' or '.join(DTYPES)}, not {name}.")
    return DTYPES[name]


def timing_on(device: torch.device) -> Timing | None:
    """Return what was measured on a device, measuring it if nobody has; None where there is nothing to choose."""
    if device.type != "cpu" or not computes_bf16(device):
        return None
    key = _circumstances(device)
    if key not in _measured:
        _measured[key] = _remembered(key) or _remember(key, measure(device))
    return _measured[key]


def is_remembered(device: torch.device) -> bool:
    """Tell whether the measurement of this device is known, in this process or on disk."""
    key = _circumstances(device)
    return key in _measured or _remembered(key) is not None


def measure(device: torch.device) -> Timing:
    """Time a convolution in both types, about a tenth of a second in all; the fastest of several tries counts."""
    return Timing(**{name: _time(dtype, device) for name, dtype in DTYPES.items()})


@torch.enable_grad()
def _time(dtype: torch.dtype, device: torch.device) -> float:
    image = torch.zeros(1, CHANNELS, SIDE, SIDE, dtype=dtype, device=device, requires_grad=True)
    weight = torch.zeros(CHANNELS, CHANNELS, 3, 3, dtype=dtype, device=device)

    def once() -> float:
        began = time.perf_counter()
        torch.nn.functional.conv2d(image, weight, padding=1).sum().backward()
        return time.perf_counter() - began

    once()  # which chooses kernels
    began, tries = time.perf_counter(), [once() for _ in range(FEWEST)]
    while time.perf_counter() - began < SECONDS:
        tries.append(once())
    return min(tries)


def _circumstances(device: torch.device) -> str:
    """The text under which a measurement is remembered: all that it depends on."""
    known = {**describe(device), "torch": torch.__version__, "kernels": torch.backends.cpu.get_cpu_capability()}
    return json.dumps(known | {"onednn": os.environ.get("ONEDNN_MAX_CPU_ISA", "")}, sort_keys=True)


def _path() -> Path:
    """As the hub's client finds HF_HOME, which takes half a second to import and which bundled weights do without."""
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.path.expandvars(os.environ.get("HF_HOME", f"{caches}/huggingface"))).expanduser() / FILE


def _all_remembered() -> dict[str, dict[str, float]]:
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no file, or not readable: measure
        return {}
    return found if isinstance(found, dict) else {}


def _remembered(key: str) -> Timing | None:
    try:
        timing = Timing(**_all_remembered()[key])
        return timing if min(timing.float32, timing.bfloat16) > 0 else None
    except (KeyError, TypeError):
        return None


def _remember(key: str, timing: Timing) -> Timing:
    path = _path()
    with contextlib.suppress(OSError, OutputError):  # a read-only home means that the next run measures again
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, str(path)) as unfinished:
            unfinished.write_text(json.dumps({**_all_remembered(), key: asdict(timing)}, indent=1), encoding="utf-8")
    return timing
