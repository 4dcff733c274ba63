"""The functions that are exported, and how they become ONNX.

A step needs a gradient, but a browser's runtime only runs graphs forward and differentiates nothing. So the backward
pass becomes a part of the graph. `torch.func.grad_and_value` makes a function that computes loss and gradient.
`make_fx` calls it once with example inputs and records every tensor operation, forward and backward, in one list;
functionalizing has replaced changes in place by new tensors. Some of these operations exist only in backward passes,
such as the gradient of a convolution, and ONNX has no counterpart. `decompositions` gives each as forward operations;
the gradient of a convolution is a convolution, too. Sizes are traced as symbols, so that `torch.export` can leave rows
and columns open and one graph serves pictures of all sizes. `torch.onnx.export` then translates operation by operation.
A valid graph may still compute something else, so the module `check` compares its outputs with torch's.
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
from latentflow.base.errors import LatentflowError, WeightsError, first_line
from latentflow.models.autoencoder import Autoencoder
from latentflow.page.export.decompositions import decompositions

LOSSES = ("mse", "l1", "gradient", "tv", "ssim", "psnr")  # that are arithmetic alone, without a network
GRAPHS = ("decoder", "encoder", "step")
OPSET = 20
_CELLS = (12, 16)  # of the traced example; different, so that no two sizes are confused
_LARGEST = 4096  # cells per side


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
    """The functions decoder, encoder and step of an autoencoder, with random inputs for a latent of rows × columns
    `cells`.

    step takes a latent, a target (1, 3, h, w) in [0, 1] and a weight for each of `LOSSES`; it gives the gradient of the
    weighted sum, the sum, the picture and each loss.
    """
    stride, generator = autoencoder.stride, torch.Generator().manual_seed(seed)
    rows, columns = cells
    latent = torch.randn(1, autoencoder.channels, rows, columns, generator=generator, dtype=torch.float32)
    image = torch.rand(1, 3, rows * stride, columns * stride, generator=generator, dtype=torch.float32)
    weights = torch.tensor([1.0, 0.5, 0.2, 0.1, 0.3, 0.01], dtype=torch.float32)
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
    """The function as an `onnx.ModelProto`, for latents of `smallest` cells per side and more.

    Raises `WeightsError` for a network that can't be traced or converted.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    # the graph itself has no upper bound, but without one here torch would infer it
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
