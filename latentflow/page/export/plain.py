"""A copy of an autoencoder that exports: the same function, in modules that a tracer can follow."""

import copy
import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentflow.models import deep_compression
from latentflow.models.autoencoder import Autoencoder


def plain_copy(autoencoder: Autoencoder) -> Autoencoder:
    """A copy on the CPU that computes in float32, with its weights rounded to float16 values."""
    model = nn.Module.to(copy.deepcopy(autoencoder.model), torch.device("cpu"), torch.float32)  # diffusers' own warns
    model = model.to(memory_format=torch.contiguous_format)
    config = dict(getattr(model, "config", {}))
    if deep_compression.supports(config):  # diffusers' network moves the channels to the end and back in every norm
        own = deep_compression.AutoencoderDC(config)
        own.load_state_dict(model.state_dict())
        model = own.eval().requires_grad_(False)
    for each in model.parameters():
        each.data = each.data.half().float()
    for each in model.modules():
        if type(each).__name__ == "Attention" and hasattr(each, "set_processor"):
            each.set_processor(_PlainAttention())
    geometry = autoencoder.geometry
    return Autoencoder(
        model,
        dataclasses.replace(geometry, scale=geometry.scale.cpu(), shift=geometry.shift.cpu()),
        autoencoder.name,
        autoencoder.sha256,
    )


class _PlainAttention:
    """The attention of a KL autoencoder, one head over all places, written with convolutions and products."""

    def __call__(
        self,
        attention: Any,
        features: Tensor,
        encoder_hidden_states: None = None,
        attention_mask: None = None,
        temb: None = None,
    ) -> Tensor:
        if attention.heads != 1:
            raise NotImplementedError("attention of several heads")
        shape = features.shape
        flat = attention.group_norm(features.flatten(2))
        query, key, value = (_linear(layer, flat) for layer in (attention.to_q, attention.to_k, attention.to_v))
        likeness = torch.softmax(torch.bmm(query.transpose(1, 2), key) * attention.scale, dim=-1)
        mixed = _linear(attention.to_out[0], torch.bmm(value, likeness.transpose(1, 2))).reshape(shape)
        return (mixed + features if attention.residual_connection else mixed) / attention.rescale_output_factor


def _linear(layer: nn.Linear, features: Tensor) -> Tensor:
    """A linear layer over the channels of (n, c, places)."""
    return F.conv1d(features, layer.weight[:, :, None], layer.bias)
