"""A trained model as a folder that diffusers' `from_pretrained` reads."""

import hashlib
import json
from pathlib import Path
from typing import Any

from latentflow.base.files import filling
from latentflow.models.weight_files import WEIGHTS_FILE
from latentflow.models.weights import HASHES_FILE

# Keys that diffusers adds for itself; it ignores the values of those listed in _use_default_values.
INTERNAL_KEYS = ("_name_or_path", "_use_default_values")


def write_model(folder: Path, model: Any, scaling_factor: float, report: dict[str, Any], card: str) -> str:
    """Write the config, the weights in fp16 with their SHA-256, a report and a model card; returns the SHA-256.

    `model` is a diffusers model and is not changed. Raises `OutputError` when the folder can't be written.
    """
    import torch
    from safetensors.torch import save

    config = {**model.config, "_class_name": type(model).__name__, "scaling_factor": scaling_factor}
    values = {name: value.to("cpu", torch.float16).contiguous() for name, value in model.state_dict().items()}
    weights = save(values, metadata={"format": "pt"})
    sha256 = hashlib.sha256(weights).hexdigest()
    contents = {
        WEIGHTS_FILE: weights,
        "config.json": as_json({key: value for key, value in config.items() if key not in INTERNAL_KEYS}),
        HASHES_FILE: as_json({WEIGHTS_FILE: sha256}),
        "report.json": as_json(report),
        "README.md": card.encode(),
    }
    with filling(folder, "`output_dir`") as unfinished:
        for name, content in contents.items():
            (unfinished / name).write_bytes(content)
    return sha256


def as_json(content: Any) -> bytes:
    """JSON as the files beside a model have it."""
    return (json.dumps(content, indent=2, sort_keys=True, default=list) + "\n").encode()
