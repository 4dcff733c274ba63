"""The loop: move a latent until its picture is the target, one record per step."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from latentflow.base.errors import DivergedError, InputError, first_line
from latentflow.base.records import READ_TOGETHER, Step
from latentflow.base.surroundings import undisturbed
from latentflow.inversion.methods import choose
from latentflow.inversion.metrics import psnr
from latentflow.inversion.objective import Objective
from latentflow.inversion.rules import Evaluation
from latentflow.latents.files import LARGEST_RMS
from latentflow.models.autoencoder import Autoencoder

SCHEDULES: dict[str, Callable[[float], float]] = {  # progress in [0, 1) → fraction of the learning rate
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: 0.5 + 0.5 * math.cos(math.pi * progress),
    "warmup_cosine": lambda progress: (
        (progress + 0.01) / 0.11 if progress < 0.1 else 0.5 + 0.5 * math.cos(math.pi * (progress - 0.1) / 0.9)
    ),
}


@undisturbed
def optimize(
    autoencoder: Autoencoder,
    objective: Objective,
    latent: Tensor,
    *,
    steps: int = 100,
    method: str = "gradient",
    lr: float | None = None,
    optimizer: str | None = None,
    betas: Sequence[float] | None = None,
    schedule: str = "constant",
) -> "Inversion":
    """Move `latent` (n, c, rows, columns) towards the target of `objective`; an iterator of `steps` + 1 records.

    `method` is gradient, gradient_free or hybrid, each described in its module; `optimizer`, its `betas` and `lr`, in
    units of the latent, are by default the method's own (`latentflow.inversion.methods`); `schedule` is constant,
    cosine or warmup_cosine. Raises what `Inversion` raises.
    """
    rule: dict[str, Any] = {"method": method, "lr": lr, "optimizer": optimizer, "betas": betas}
    return Inversion(autoencoder, objective, latent, steps=steps, schedule=schedule, **rule)


class Inversion(Iterator[Step]):
    """An optimization in progress, as `optimize` makes it: record k holds the latent after k updates.

    The picture and the figures of a record belong to its own latent, so the last update is seen. Every image of a batch
    moves as it would alone; L-BFGS and hybrid take one image only. `state()` after a record is enough for another
    inversion with the same options to go on exactly.

    Raises `InputError` for an unknown method, optimizer or schedule, for latents that don't fit the target and for a
    batch where there can be none; `DivergedError` when loss, gradient or latent is not finite or the latent's RMS
    passes 100: the records before have been yielded by then, and on a GPU up to 16 after it.
    """

    @undisturbed
    def __init__(
        self,
        autoencoder: Autoencoder,
        objective: Objective,
        latent: Tensor,
        *,
        steps: int,
        method: str,
        lr: float | None,
        optimizer: str | None,
        betas: Sequence[float] | None,
        schedule: str,
    ) -> None:
        choice = choose(method, optimizer, lr, steps, betas)
        if schedule not in SCHEDULES:
            raise InputError(f"`schedule` is one of {', '.join(SCHEDULES)}, not {schedule!r}.")
        if steps < 1:
            raise InputError(f"`steps` must be at least 1, not {steps}.")
        _check_shape(latent, autoencoder, objective.target)
        if len(latent) != 1 and choice.couples_batch:
            raise InputError(f"{choice.couples_batch} takes one image at a time: its decisions would couple a batch.")
        self.objective, self.steps, self.schedule = objective, steps, SCHEDULES[schedule]
        self.index = 0  # of the next record
        self.rule = choice.method.update_rule()(autoencoder, objective, latent, choice)
        self._check = _FiniteCheck(1 if latent.device.type == "cpu" else READ_TOGETHER)

    @undisturbed
    def __next__(self) -> Step:
        if self.index > self.steps:
            raise StopIteration
        began = time.perf_counter()
        index, last = self.index, self.index == self.steps
        now = self.rule.advance(0.0 if last else self.schedule(index / self.steps), last=last)
        self._check.add(now, index, last=last)
        self.index += 1
        return Step(
            index=index,
            total=self.steps,
            latent=now.latent,
            image=now.image,
            loss=now.loss,
            parts=now.parts,
            psnr=psnr(now.image, self.objective.target, self.objective.mask),
            grad_norm=now.grad_norm,
            lr=now.lr,
            passes=now.passes,
            seconds=time.perf_counter() - began,
        )

    @property
    def ended(self) -> str:
        """Why further steps would change nothing, in a sentence; empty as long as they do."""
        return self.rule.ended

    @property
    def phases(self) -> dict[str, int]:
        """The number of updates in each phase of a method that has several: walk, jump and gradient of hybrid."""
        return self.rule.phases

    @undisturbed
    def state(self) -> dict[str, Any]:
        """All that going on after the last record takes: its index, the latent, what the update rule knows. It is a
        copy, which later steps leave alone."""
        return copy.deepcopy({"index": self.index, "before": None, **self.rule.state()})

    @undisturbed
    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state()`, at any time; raises `InputError` when it belongs to a different run."""
        try:
            self.rule.restore(state)
            self.index = int(state["index"])
            self._check.waiting.clear()
        except (KeyError, ValueError, TypeError, AttributeError, LookupError, RuntimeError) as error:
            raise InputError(f"The checkpoint belongs to a different run: {first_line(error)}.") from error


def _check_shape(latent: Tensor, autoencoder: Autoencoder, target: Tensor) -> None:
    """Raise `InputError` unless a latent is one for each picture of the target."""
    if target.ndim != 4 or target.shape[1] != 3:
        raise InputError(f"A target is (n, 3, height, width), not {tuple(target.shape)}.")
    wanted = (len(target), *autoencoder.geometry.latent_shape(target.shape[-2], target.shape[-1]))
    if tuple(latent.shape) != wanted:
        raise InputError(f"The latent has shape {tuple(latent.shape)}; this target needs {wanted}.")


class _FiniteCheck:
    """Watches that runs stay finite, `together` steps at a time."""

    def __init__(self, together: int) -> None:
        self.together = together
        self.waiting: list[tuple[int, Tensor, Tensor, Tensor]] = []

    def add(self, now: Evaluation, index: int, *, last: bool) -> None:
        """Check a step, now or together with later ones; raises `DivergedError` naming what is not finite."""
        rms = now.latent.square().mean(dim=(1, 2, 3)).sqrt()
        norm = torch.zeros_like(now.loss) if now.grad_norm is None else now.grad_norm
        self.waiting.append((index, now.loss, norm, rms))
        if not last and len(self.waiting) < self.together:
            return
        figures = torch.stack([torch.stack(each[1:]) for each in self.waiting])  # (steps, 3, n)
        fine = torch.isfinite(figures).all(1) & (figures[:, 2] <= LARGEST_RMS)
        if not bool(fine.all()):
            step, image = torch.nonzero(~fine)[0].tolist()
            loss, gradient, size = figures[step, :, image].tolist()
            raise DivergedError(
                f"The run diverged at step {self.waiting[step][0]}: loss {loss:g}, gradient norm {gradient:g}, "
                f"latent RMS {size:g}.",
                "Try a smaller `lr`.",
            )
        self.waiting.clear()
