"""Embeddings of prompts: mixed between two, and weighed in attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Embeddings = dict[str, Tensor]  # by the names that a pipeline has for them


def mixed(
    one: Embeddings, two: Embeddings, fraction: float, mix: Callable[[Tensor, Tensor, float], Tensor]
) -> Embeddings:
    """The embeddings at a fraction of the way from one prompt to another, mixed by `mix`; those of a prompt at either
    end, bit by bit. Each has a first dimension of 1.

    Prompts of different lengths have masks, which say where there are words. A union of both masks would bring in the
    padding of the shorter prompt at once, and a word that fades in is attended to long before its share is large, since
    attention is exponential: either changes the picture right after a stop. So the shorter prompt is extended with
    copies of its last token, its end, and each of k copies counts 1/k in attention, which changes nothing. From there
    every token moves to its partner, and its weight to 1.
    """
    if fraction in (0, 1):
        return two if fraction else one
    made = {name: value for name, value in one.items() if name.endswith("_mask")}
    for name, value in one.items():
        if name in made:
            continue
        mask = name.replace("_embeds", "_attention_mask")
        if mask not in one or torch.equal(one[mask], two[mask]):
            made[name] = mix(value.float(), two[name].float(), fraction).to(value)
            continue
        length = max(int(one[mask].sum()), int(two[mask].sum()))
        (start, before), (end, after) = (_extended(each[name], each[mask], length) for each in (one, two))
        made[name], made[mask] = torch.zeros_like(value), torch.zeros_like(one[mask], dtype=torch.float32)
        made[name][:, :length] = mix(start.float(), end.float(), fraction).to(value)
        made[mask][:, :length] = torch.lerp(before, after, fraction).exp()
    return made


def _extended(embeddings: Tensor, mask: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The tokens (1, length, width) that a mask (1, tokens) leaves of embeddings (1, tokens, width), the last of them
    as often as needed, and the logarithms (length,) of what each counts."""
    tokens = embeddings[:, mask[0].bool()]
    index = torch.arange(length, device=tokens.device).clamp(max=tokens.shape[1] - 1)
    return tokens[:, index], -torch.bincount(index)[index].float().log()


@contextmanager
def weighing_words(denoiser: Any) -> Iterator[None]:
    """Let a mask (n, tokens) between 0 and 1 weigh the words that a model attends to, while it lasts.

    Attention adds a bias to each logit. Transformers make it of a mask as (1 - mask) · -10000, so 0.9 is as good as 0.
    The bias log(mask) multiplies a word's share of the attention by the mask; 0 and 1 keep their meaning. A mask of
    zeros and ones is left alone.
    """

    def weigh(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        mask = named.get("encoder_attention_mask")
        if mask is not None and mask.is_floating_point() and bool(((mask > 0) & (mask < 1)).any()):
            bias = mask.float().log().clamp(min=-10000)[:, None]  # of three dimensions it is taken as a bias
            named = named | {"encoder_attention_mask": bias.to(denoiser.dtype)}
        return given, named

    hook = denoiser.register_forward_pre_hook(weigh, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
