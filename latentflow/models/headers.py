"""The header of a .safetensors file, and a check for values that are not finite: without torch."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}  # by the names of the format, as numpy knows them
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
BFLOAT16_EXPONENT = 0x7F80  # all of these bits are set in infinities and NaN alone


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file: its name there, its shape, its dtype as the format calls it, and its bytes."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    begin: int
    end: int

    @property
    def size(self) -> int:
        """The number of its values."""
        return math.prod(self.shape)

    def is_finite(self) -> bool:
        """Tell whether it has neither NaN nor infinities; true of integers and of eight-bit floats, which aren't
        examined."""
        import numpy as np

        if self.begin == self.end or self.dtype not in (*FLOATS, "BF16"):
            return True
        content = np.memmap(self.path, np.uint8, "r", self.begin, (self.end - self.begin,))
        if self.dtype == "BF16":
            return not ((content.view("<u2") & BFLOAT16_EXPONENT) == BFLOAT16_EXPONENT).any()
        return bool(np.isfinite(content.view(FLOATS[self.dtype])).all())


def read_header(path: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """The tensors of a .safetensors file by name, and its metadata; raises `SafetensorError` or `OSError` for a file
    that is truncated or something else."""
    from safetensors import safe_open

    with safe_open(path, framework="np"):  # checks names, shapes and lengths, and needs no torch
        pass
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header: dict[str, Any] = json.loads(stream.read(length))
    metadata = header.pop("__metadata__", None) or {}
    start = 8 + length
    return {
        name: TensorInfo(
            path, name, tuple(entry["shape"]), entry["dtype"], *(start + at for at in entry["data_offsets"])
        )
        for name, entry in header.items()
    }, metadata
