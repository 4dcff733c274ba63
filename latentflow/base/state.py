"""Nested states on disk as safetensors: tensors as they are, the structure as JSON beside them; no code, no pickle."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentflow.base.errors import InputError, first_line
from latentflow.base.files import FORMAT_VERSION, check_version

TENSOR, PAIRS = "$tensor", "$pairs"  # keys of what JSON has no word for


def pack(tree: Any) -> bytes:
    """The bytes of nested dicts, lists, numbers, strings and tensors; tuples come back as lists."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}

    def visit(node: Any) -> Any:
        if isinstance(node, Tensor):
            name = str(len(tensors))
            tensors[name] = node.detach().cpu().clone(memory_format=torch.contiguous_format)
            return {TENSOR: name}
        if isinstance(node, dict):  # its keys need not be strings
            return {PAIRS: [[key, visit(value)] for key, value in node.items()]}
        if isinstance(node, list | tuple):
            return [visit(each) for each in node]
        return node

    structure = json.dumps(visit(tree))
    return canonical(save(tensors, {"format": "latentflow", "format_version": str(FORMAT_VERSION), "tree": structure}))


def canonical(content: bytes) -> bytes:
    """The same safetensors file with its header sorted: the library writes metadata in a random order."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[end:]


def unpack(path: Path, kind: str = "a checkpoint") -> dict[Any, Any]:
    """The dict that was packed into the file, on the CPU; raises `InputError` when it holds no such thing, where it
    is called `kind`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            check_version(metadata.get("format_version", "1"), path)
            structure = json.loads(metadata["tree"])
            # copied, since sums depend on how memory is aligned, in their last bits
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  (no dict)
        tree = _visit(structure, tensors)
        if not isinstance(tree, dict):
            raise ValueError("it holds no state")
        return tree
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"{path} can't be read as {kind}: {reason}.") from error


def _visit(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, dict):
        if TENSOR in node:
            return tensors[node[TENSOR]]
        return {key: _visit(value, tensors) for key, value in node[PAIRS]}
    return [_visit(each, tensors) for each in node] if isinstance(node, list) else node
