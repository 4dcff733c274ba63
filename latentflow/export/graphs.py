"""The functions that are exported, and how they become ONNX.

A step is one graph of forward operations: the gradient is taken by `torch.func`, and traced with it.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentflow import losses
from latentflow.errors import LatentflowError, WeightsError, first_line
from latentflow.export.decompositions import decompositions
from latentflow.models.autoencoder import Autoencoder

LOSSES = ("mse", "l1", "gradient", "tv", "ssim", "psnr")  # that are arithmetic alone, without a network
GRAPHS = ("decoder", "encoder", "step")
OPSET = 20
_CELLS = (12, 16)  # of the example that is traced; neither is the other, or a channel count
_LARGEST = 4096  # cells a side


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function to export: the names of its inputs and outputs, example inputs, and which of their sides vary:
    `sides` gives for each input the factor of the latent's sides, or None for an input of a fixed shape."""

    name: str
    call: Callable[..., Any]
    inputs: dict[str, Tensor]
    sides: tuple[int | None, ...]
    outputs: tuple[str, ...]


def functions(autoencoder: Autoencoder, cells: tuple[int, int] = _CELLS, seed: int = 0) -> list[Function]:
    """decoder, encoder and step of an autoencoder, with random inputs for a latent of so many cells.

    step takes a latent, a target (1, 3, h, w) in [0, 1] and a weight for each of `LOSSES`; it gives the gradient of the
    weighted sum, the sum, the picture and each loss.
    """
    stride, generator = autoencoder.stride, torch.Generator().manual_seed(seed)
    rows, columns = cells
    latent = torch.randn(1, autoencoder.channels, rows, columns, generator=generator)
    image = torch.rand(1, 3, rows * stride, columns * stride, generator=generator)
    weights = torch.tensor([1.0, 0.5, 0.2, 0.1, 0.3, 0.01])
    kinds = [losses.find(name)() for name in LOSSES]

    def total(latent: Tensor, target: Tensor, weights: Tensor) -> Any:
        picture = autoencoder.decode(latent)
        parts = torch.cat([kind(picture, target) for kind in kinds])
        return (parts * weights).sum(), (picture, parts)

    differentiated = torch.func.grad_and_value(total, has_aux=True)

    def step(latent: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        gradient, (loss, (picture, parts)) = differentiated(latent, target, weights)
        return gradient, loss, picture, parts

    return [
        Function(name="decoder", call=autoencoder.decode, inputs={"latent": latent}, sides=(1,), outputs=("image",)),
        Function(
            name="encoder", call=autoencoder.encode, inputs={"image": image}, sides=(stride,), outputs=("latent",)
        ),
        Function(
            name="step",
            call=step,
            inputs={"latent": latent, "target": image, "weights": weights},
            sides=(1, stride, None),
            outputs=("gradient", "loss", "image", "losses"),
        ),
    ]


def to_onnx(function: Function, smallest: int) -> Any:
    """The function as an `onnx.ModelProto`, for latents of `smallest` cells a side and more.

    Raises `WeightsError` for a network that can't be traced or converted.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    # the upper bound is none of a graph, but one without leaves it to be inferred
    rows, columns = (torch.export.Dim(name, min=smallest, max=_LARGEST) for name in ("rows", "columns"))
    inputs = tuple(function.inputs.values())
    shapes = tuple(None if side is None else {2: side * rows, 3: side * columns} for side in function.sides)
    plain = torch.func.functionalize(_as_tuple(function.call), remove="mutations")
    try:
        with _quiet(), torch.no_grad() if function.name != "step" else contextlib.nullcontext():
            traced = make_fx(plain, decompositions(), tracing_mode="symbolic", _allow_non_fake_inputs=True)(*inputs)
            exported = torch.export.export(traced, inputs, dynamic_shapes=shapes, strict=False)
            program = torch.onnx.export(
                exported,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(function.inputs),
                output_names=list(function.outputs),
                verbose=False,
            )
    except LatentflowError:
        raise
    except Exception as error:  # torch raises what an operation that it can't follow happens to raise
        raise WeightsError(
            f"The {function.name} of this autoencoder can't be exported: {type(error).__name__}: {first_line(error)}"
        ) from error
    assert program is not None
    return program.model_proto


def _as_tuple(call: Callable[..., Any]) -> Callable[..., tuple[Tensor, ...]]:
    def called(*inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = call(*inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    return called


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter prints, logs and warns of."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
