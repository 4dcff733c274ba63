"""What flows from the library to the sinks: one record for the start and one after every update."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One latent and the picture decoded from exactly this latent.

    `latent` is (n, c, h, w) of about unit variance; `image` is (n, 3, height, width), nominally in [0, 1], unclamped;
    both are detached. `index` runs from 0 to `total` inclusive.
    """

    index: int
    total: int
    latent: Tensor
    image: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Frame):
    """A frame of an optimization, with the figures that belong to its latent.

    `loss`, each of `parts` and `psnr` (dB, of the clamped picture) have one value an image, (n,), and stay tensors
    until somebody wants a number. `grad_norm` (n,) is None for the last record, which takes no gradient. `lr` is the
    rate of the update that follows this record; `seconds` is what evaluating this record and that update took.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    psnr: Tensor
    grad_norm: Tensor | None
    lr: float
    seconds: float


Record = TypeVar("Record", bound=Frame)


def until(records: Iterable[Record], done: Callable[[Record], bool]) -> Iterator[Record]:
    """Pass records on up to and including the first for which `done` is true."""
    for record in records:
        yield record
        if done(record):
            return
