"""Records that the library hands to the sinks: one for the start and one after every update."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, ClassVar, TypeVar

if TYPE_CHECKING:
    from torch import Tensor


READ_TOGETHER = 16  # records: their figures are read from a GPU at once, since it runs dry at each reading


@dataclass(frozen=True, kw_only=True)
class Record:
    """One of a stream: `index` runs up to `total` inclusive. A stream may end at any record that `is_complete`."""

    is_complete: ClassVar[bool] = True

    index: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Frame(Record):
    """One latent and the picture decoded from exactly this latent.

    `latent` is (n, c, h, w) of about unit variance; `image` is (n, 3, height, width), nominally in [0, 1], unclamped;
    both are detached. The first has index 0.
    """

    latent: Tensor
    image: Tensor

    def _repr_png_(self) -> bytes:
        """Return a PNG for notebooks: the pictures beside one another."""
        from latentflow.base.pixels import to_png, to_uint8

        return to_png(to_uint8(self.image.movedim(0, 2).flatten(2, 3)[None]))


@dataclass(frozen=True, kw_only=True)
class Figures(Record):
    """The figures of one step of an optimization, without its latent and its picture, as a trajectory gives them back.

    `loss`, each of `parts` and `psnr` (dB, of the clamped picture) have one value an image, (n,), and stay tensors
    until somebody wants a number. `grad_norm` (n,) is the norm of what the latent is moved along, and None for the last
    record, which stays where it is. `lr` is the rate of the update that follows this record; `passes` (forward 1,
    forward and backward 3) and `seconds` are the cost of evaluating this record and of that update.
    """

    is_complete: ClassVar[bool] = False

    loss: Tensor
    parts: dict[str, Tensor]
    psnr: Tensor
    grad_norm: Tensor | None
    lr: float
    passes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Step(Frame, Figures):
    """A frame of an optimization, with the figures that belong to its latent."""

    is_complete: ClassVar[bool] = True

    @property
    def figures(self) -> Figures:
        """The figures alone, which hold no picture in memory."""
        return Figures(**{each.name: getattr(self, each.name) for each in fields(Figures)})

    def of_image(self, index: int) -> Step:
        """The step of one image of a batch."""
        one = slice(index, index + 1)
        return replace(
            self,
            latent=self.latent[one].clone(),  # a view would keep the memory of the whole batch
            image=self.image[one].clone(),
            loss=self.loss[one],
            parts={label: value[one] for label, value in self.parts.items()},
            psnr=self.psnr[one],
            grad_norm=None if self.grad_norm is None else self.grad_norm[one],
        )


@dataclass(frozen=True, kw_only=True)
class Update(Record):
    """One update of a network in training, with the figures of its batch; the first has index 1.

    `loss`, `parts` and `psnr` are as in a `Step`, of the weights before the update; a network that makes no picture of
    its batch has no `psnr`. `validation` holds the figures of
    held-back pictures, at the steps that look at them, and `sheet` then those pictures above their reconstructions,
    (1, 3, h, w) in [0, 1].
    """

    loss: Tensor
    parts: dict[str, Tensor]
    psnr: Tensor | None
    grad_norm: Tensor
    lr: float
    seconds: float
    validation: dict[str, float]
    sheet: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Labeled(Frame):
    """A frame of n pictures, with `titles` above them, none or n, and a `caption` below them all; each text is in parts
    that stay together where there is room."""

    titles: list[list[str]] = field(default_factory=list)
    caption: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Comparison(Record):
    """The same step of several runs, by the names of what they differ in."""

    steps: dict[str, Step]

    @property
    def seconds(self) -> float:
        """The seconds that all steps took together."""
        return sum(step.seconds for step in self.steps.values())

    @property
    def labeled(self) -> Labeled:
        """Their latents and pictures together, each under its run's name and PSNR."""
        import torch

        steps = self.steps.values()
        return Labeled(
            index=self.index,
            total=self.total,
            latent=torch.cat([step.latent for step in steps]),
            image=torch.cat([step.image for step in steps]),
            titles=[[name, f"{float(step.psnr[0]):5.2f} dB"] for name, step in self.steps.items()],
        )


AnyRecord = TypeVar("AnyRecord", bound=Record)


def until(records: Iterable[AnyRecord], done: Callable[[AnyRecord], bool]) -> Iterator[AnyRecord]:
    """Pass records on up to and including the first for which `done` is true."""
    for record in records:
        yield record
        if done(record):
            return
