"""A trained model as a folder that `from_pretrained` reads."""

import hashlib
import json
from pathlib import Path
from typing import Any

from latentflow.files import write_whole, writing
from latentflow.models.weights import HASHES_FILE, WEIGHTS_FILE

# What diffusers keeps in a config for itself; values it notes as defaults would not be read from the file.
HIDDEN = ("_name_or_path", "_use_default_values")


def write_model(folder: Path, model: Any, scaling_factor: float, report: dict[str, Any], card: str) -> str:
    """Write config, fp16 weights, their hash, a report and a model card; gives the weights' SHA-256.

    `model` is a diffusers model and stays as it is. Raises `OutputError` when the folder can't be written.
    """
    import torch
    from safetensors.torch import save

    config = {**model.config, "_class_name": type(model).__name__, "scaling_factor": scaling_factor}
    values = {name: value.to("cpu", torch.float16).contiguous() for name, value in model.state_dict().items()}
    weights = save(values, metadata={"format": "pt"})
    sha256 = hashlib.sha256(weights).hexdigest()
    with writing(folder, "--output_dir"):
        folder.mkdir(exist_ok=True)
    contents = {
        WEIGHTS_FILE: weights,
        "config.json": _json({key: value for key, value in config.items() if key not in HIDDEN}),
        HASHES_FILE: _json({WEIGHTS_FILE: sha256}),
        "report.json": _json(report),
        "README.md": card.encode(),
    }
    for name, content in contents.items():
        write_whole(folder / name, content, "--output_dir")
    return sha256


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True, default=list) + "\n").encode()
