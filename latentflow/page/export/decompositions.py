"""Decompositions of a backward pass: each of its operations as forward operations that ONNX has."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions

aten = torch.ops.aten
_BY_TORCH = (
    aten.silu_backward,
    aten.threshold_backward,
    aten.sigmoid_backward,
    aten.tanh_backward,
    aten._softmax_backward_data,
    aten.upsample_nearest2d_backward,
    aten.empty_permuted,
    aten.native_group_norm,
    aten.select_backward,
    aten.slice_backward,
    aten.new_zeros,
    aten.new_empty,
    aten.pixel_shuffle,
    aten.pixel_unshuffle,
)


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return a table for `torch.fx.experimental.proxy_tensor.make_fx`: for an operation, a function of other
    operations."""
    return {
        **get_decompositions(_BY_TORCH),
        aten.convolution_backward.default: convolution_backward,
        aten.mul.Scalar: _multiply,
        aten.squeeze.dim: _squeeze,
    }


def convolution_backward(
    gradient: Tensor,
    image: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    mask: Sequence[bool],
) -> tuple[Tensor, None, None]:
    """The gradient of a convolution's input alone, since weights are frozen.

    That of a stride of 1 is a convolution itself, with the weights flipped and input and output channels exchanged,
    which runs faster than a transposed one. Raises NotImplementedError for a transposed convolution.
    """
    if transposed:
        raise NotImplementedError("the gradient of a transposed convolution")
    sides = weight.shape[2:]
    ones = [1] * len(sides)
    if list(stride) == ones:
        out, within = weight.shape[0] // groups, weight.shape[1]
        exchanged = weight.reshape(groups, out, within, *sides).transpose(1, 2).reshape(groups * within, out, *sides)
        flipped = exchanged.flip(list(range(2, weight.ndim)))
        rest = [each * (side - 1) - border for each, side, border in zip(dilation, sides, padding, strict=True)]
        none = [0] * len(sides)
        return aten.convolution.default(gradient, flipped, None, ones, rest, dilation, False, none, groups), None, None
    missing = [
        image.shape[2 + n] - (gradient.shape[2 + n] - 1) * stride[n] + 2 * padding[n] - dilation[n] * (side - 1) - 1
        for n, side in enumerate(sides)
    ]
    found = aten.convolution.default(gradient, weight, None, stride, padding, dilation, True, missing, groups)
    return found, None, None


def _multiply(values: Tensor, factor: Any) -> Any:
    """By a number that depends on a size, which the exporter takes for a constant."""
    if isinstance(factor, int | float):
        return NotImplemented
    return values * aten.scalar_tensor.default(factor, dtype=values.dtype)


def _squeeze(values: Tensor, dim: int) -> Tensor:
    """Squeezing a side that isn't 1 changes nothing; ONNX's Squeeze fails there."""
    return aten.select.int(values, dim, 0) if values.shape[dim] == 1 else aten.alias.default(values)
