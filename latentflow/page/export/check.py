"""A check that an exported graph computes what torch does: a graph can be valid and wrong."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentflow.base.errors import WeightsError
from latentflow.page.export.graphs import Function

# Of a value's RMS. The gradients of l1, ReLU and the like jump at zero, where two sums of the same numbers may fall on
# either side of it, so a few values of a gradient may differ by all they are.
TOLERANCE = {"gradient": 2e-2, "loss": 1e-4, "image": 1e-4, "losses": 1e-4, "latent": 1e-4}


def open_graph(path: Path) -> Any:
    """A session of onnxruntime for a graph beside its weights, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def differences(graph: Any, function: Function) -> dict[str, float]:
    """Compare a graph's outputs with the function's: by name, the RMS of the difference over the RMS of the output."""
    inputs = {name: value.numpy() for name, value in function.inputs.items()}
    expected = function.call(*function.inputs.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = graph.run(list(function.outputs), inputs)
    return {
        name: _relative(torch.from_numpy(got), wanted.detach())
        for name, got, wanted in zip(function.outputs, found, expected, strict=True)
    }


def _relative(found: Tensor, wanted: Tensor) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    return float((found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt().clamp_min(1e-12))


def require_equal(graph: Any, function: Function, name: str) -> dict[str, float]:
    """The `differences`; raises `WeightsError` when one is more than rounding explains, or not a number."""
    found = differences(graph, function)
    for output, difference in found.items():
        if not difference <= TOLERANCE[output]:
            sides = " × ".join(str(side) for side in next(iter(function.inputs.values())).shape[2:])
            raise WeightsError(
                f"The exported {function.name} of {name} is wrong: for an input of {sides}, its {output} differs from "
                f"torch's by {difference:.2g} of its size."
            )
    return found
