"""Weights and latents that torch pickled, written again as .safetensors, which can't run code."""

import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from latentflow.base.errors import InputError, OutputError, first_line
from latentflow.base.files import write_file

# What torch's reader raises on bytes that are no pickle, or half of one, or that declare any size.
READING_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,
    MemoryError,
    ValueError,
    LookupError,
    TypeError,
    pickle.UnpicklingError,
    struct.error,
)


def convert(path: Path) -> Path:
    """Write the tensors of a file of `torch.save` beside it as .safetensors, and give that path.

    It is read with `weights_only=True`, which rebuilds tensors and plain containers and nothing else. Raises
    `InputError` for a file that needs more than that or has no tensors, `OutputError` where the new one exists or can't
    be written.
    """
    output = path.with_suffix(".safetensors")
    if output.exists():
        raise OutputError(f"{output} exists already.", "Move it away, or use it.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except READING_ERRORS as error:
        raise InputError(f"{path} can't be read as tensors alone: {first_line(error)}.") from error
    tensors = _tensors(content)
    if not tensors:
        raise InputError(f"{path} has no tensors.")
    write_file(output, save(tensors, {"format": "pt"}), "The file")
    return output


def _tensors(content: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint, below "state_dict" where a trainer puts them; a lone tensor is a latent."""
    if isinstance(content, Tensor):
        content = {"latent": content}
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    found = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    return {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in found.items()}
