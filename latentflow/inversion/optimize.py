"""The loop: move a latent until its picture is the target, one record a step, by gradient, without, or by both."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer

from latentflow.errors import DivergedError, InputError
from latentflow.inversion import methods
from latentflow.inversion.metrics import psnr
from latentflow.inversion.objective import Objective
from latentflow.models.autoencoder import Autoencoder
from latentflow.records import READ_TOGETHER, Step

LARGEST_RMS = 100.0
FORWARD, BACKWARD = 1, 2  # what they cost, in passes
# A hybrid run turns to the gradient when PSNR rises by less, in dB a pass: about what Adam's first updates bring.
WORTHWHILE = 0.04

GRADIENT: dict[str, Callable[[list[Tensor], float], Optimizer]] = {
    "adam": lambda latents, lr: Adam(latents, lr=lr),
    "adamw": lambda latents, lr: AdamW(latents, lr=lr),
    "sgd": lambda latents, lr: SGD(latents, lr=lr, momentum=0.9),
    # one iteration a step, so that a record is an iterate and not twenty of them
    "lbfgs": lambda latents, lr: LBFGS(
        latents, lr=lr, max_iter=1, tolerance_grad=0, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    ),
}
GRADIENT_FREE: dict[str, Callable[[list[Tensor], float], Optimizer]] = {  # the residual in the gradient's place
    "km": lambda latents, lr: SGD(latents, lr=lr),
    # Nesterov's form keeps the point that is evaluated, as the inertial iteration does
    "inertial_km": lambda latents, lr: SGD(latents, lr=lr, momentum=methods.INERTIA, nesterov=True),
    "adam": lambda latents, lr: Adam(latents, lr=lr),
}
SCHEDULES: dict[str, Callable[[float], float]] = {  # progress in [0, 1) → share of the rate
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: 0.5 + 0.5 * math.cos(math.pi * progress),
    "warmup_cosine": lambda progress: (
        (progress + 0.01) / 0.11 if progress < 0.1 else 0.5 + 0.5 * math.cos(math.pi * (progress - 0.1) / 0.9)
    ),
}


class optimize(Iterator[Step]):
    """Move the latents `start`, (n, c, rows, columns), towards the target; yield `steps` + 1 records.

    Record k holds the latent after k updates with its own picture and loss, so the last update is seen. Every image
    of a batch goes the way it would go alone; L-BFGS and hybrid take one image only. `optimizer` and `lr` are by
    default the method's own, see `methods.settle`.

    gradient follows the gradient of the objective, which is divided, image by image, by its RMS at the start, so that
    `lr` is in units of the latent for every optimizer, loss and picture size; figures in the records are of the loss
    as it is. gradient_free needs no backward pass: z ← z − lr·(E(D(z)) − E(x)), or the same residual through Adam
    or with inertia (Hong et al., "Gradient-free Decoder Inversion in Latent Diffusion Models", 2024, arXiv:2409.18442).
    It knows the target of the objective and not its losses; its loss is the residual's mean square. hybrid begins
    so, at lr 1, and follows the gradient once a pass through the network is worth less than `WORTHWHILE`.

    Raises `InputError` for an unknown method, optimizer or schedule and for a batch where there can be none,
    `DivergedError` when loss, gradient or latent is not finite or the latent's RMS passes 100; the records before have
    been yielded by then, and on a GPU up to 16 behind.

    From its `state()` after a record another one goes on exactly, if it is given the same options.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        objective: Objective,
        start: Tensor,
        *,
        steps: int = 100,
        method: str = "gradient",
        lr: float | None = None,
        optimizer: str | None = None,
        schedule: str = "constant",
    ) -> None:
        optimizer, rate = methods.settle(method, optimizer, lr, steps)
        if schedule not in SCHEDULES:
            raise InputError(f"There is no schedule {schedule!r}.", f"Schedules: {', '.join(SCHEDULES)}.")
        if len(start) != 1 and (optimizer == "lbfgs" or method == "hybrid"):
            alone = "lbfgs" if optimizer == "lbfgs" else "hybrid"
            raise InputError(f"{alone} takes one image at a time: what it decides by would couple a batch.")
        self.autoencoder, self.objective = autoencoder, objective
        self.steps, self.method, self.schedule = steps, method, schedule
        self.index = 0
        self.before: tuple[float, int] | None = None  # PSNR and passes of the last record, by which hybrid decides
        self._records = self._run()  # which begins when it is asked for its first record
        self._gradient = lambda latent: _Gradient(autoencoder, objective, latent, optimizer, rate)
        self.road: _Gradient | _GradientFree
        if method == "gradient":
            self.road = self._gradient(start)
        elif method == "gradient_free":
            self.road = _GradientFree(autoencoder, objective, start, optimizer, rate, own_loss=True)
        else:
            self.road = _GradientFree(autoencoder, objective, start, "km", 1.0, own_loss=False)

    def __next__(self) -> Step:
        return next(self._records)

    def _run(self) -> Iterator[Step]:
        checks = _Checks(1 if self.road.latent.device.type == "cpu" else READ_TOGETHER)
        for index in range(self.index, self.steps + 1):
            began = time.perf_counter()
            last = index == self.steps
            share = 0.0 if last else SCHEDULES[self.schedule](index / self.steps)
            if self.method == "hybrid" and isinstance(self.road, _GradientFree) and not last:
                share = 1.0
            now = self.road.advance(share, last)
            checks.add(now, index, last)
            step = Step(
                index=index,
                total=self.steps,
                latent=now.latent,
                image=now.image,
                loss=now.loss,
                parts=now.parts,
                psnr=psnr(now.image, self.objective.target),
                grad_norm=now.grad_norm,
                lr=share * self.road.lr,
                passes=now.passes,
                seconds=time.perf_counter() - began,
            )
            if self.method == "hybrid":
                self._judge(step)
            self.index = index + 1
            yield step

    def _judge(self, step: Step) -> None:
        """Turn to the gradient once the other road is no longer worth its passes."""
        quality = float(step.psnr[0])
        if isinstance(self.road, _GradientFree) and self.before is not None:
            before, passes = self.before
            if not (quality - before) / passes >= WORTHWHILE:
                self.road = self._gradient(self.road.latent)
        self.before = (quality, step.passes)

    def state(self) -> dict[str, Any]:
        """All that going on after the last record takes: index, latent, what the optimizer knows, the road."""
        road = self.road
        return {
            "index": self.index,
            "before": self.before,
            "by_gradient": isinstance(road, _Gradient),
            "latent": road.latent,
            "updater": road.updater.state_dict(),
            "scale": road.scale if isinstance(road, _Gradient) else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state()`; raises `InputError` when it is of another run."""
        try:
            device = self.road.latent.device
            latent = state["latent"].to(device)
            if latent.shape != self.road.latent.shape:
                raise ValueError(f"its latent has shape {tuple(latent.shape)}")
            if state["by_gradient"] and self.method == "hybrid":
                self.road = self._gradient(latent)
            self.road.latent.data.copy_(latent)
            self.road.updater.load_state_dict(state["updater"])
            if isinstance(self.road, _Gradient) and state["scale"] is not None:
                self.road.scale = state["scale"].to(device)
            self.index = int(state["index"])
            self.before = None if state["before"] is None else (float(state["before"][0]), int(state["before"][1]))
        except (KeyError, ValueError, TypeError, AttributeError, LookupError, RuntimeError) as error:
            raise InputError(f"The checkpoint is of another run: {str(error).splitlines()[0]}") from error


@dataclass(slots=True)
class _Evaluation:
    """The picture of one latent and its figures, taken together so that they belong together."""

    latent: Tensor
    image: Tensor
    loss: Tensor
    parts: dict[str, Tensor]
    grad_norm: Tensor | None
    passes: int


class _Gradient:
    """Follows the gradient of an objective through the decoder."""

    def __init__(
        self, autoencoder: Autoencoder, objective: Objective, start: Tensor, optimizer: str, lr: float
    ) -> None:
        self.autoencoder, self.objective, self.lr = autoencoder, objective, lr
        self.latent = start.detach().clone().requires_grad_()
        self.size = (objective.target.shape[-2], objective.target.shape[-1])
        self.updater = GRADIENT[optimizer]([self.latent], lr)
        self.scale: Tensor | None = None

    def advance(self, share: float, last: bool) -> _Evaluation:
        """Evaluate the latent and then, but at the last, update it by `share` of the rate; the evaluation is the first
        that the optimizer asks for."""
        if last:
            return self._evaluate(backward=False)
        seen: list[_Evaluation] = []
        wolfe = isinstance(self.updater, LBFGS)

        def closure() -> float:
            now = self._evaluate()
            if seen:  # a line search asks again, of latents it may not keep
                seen[0].passes += now.passes
            else:
                seen.append(now)
            assert self.scale is not None
            return float((now.loss * self.scale).sum()) if wolfe else 0.0

        _set_rate(self.updater, share * self.lr)
        self.updater.step(closure)  # type: ignore[arg-type]
        return seen[0]

    def _evaluate(self, backward: bool = True) -> _Evaluation:
        self.updater.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(backward):
            image = self.autoencoder.decode(self.latent, self.size)
            loss, parts = self.objective(image)
        norm = None
        if backward:
            loss.sum().backward()
            assert self.latent.grad is not None
            norm = self.latent.grad.flatten(1).norm(dim=1)
            if self.scale is None:
                self.scale = _first_scale(norm, self.latent[0].numel())
            self.latent.grad.mul_(self.scale[:, None, None, None])
        return _Evaluation(
            *(self.latent.detach().clone(), image.detach(), loss.detach(), parts, norm),
            passes=FORWARD + BACKWARD if backward else FORWARD,
        )


class _GradientFree:
    """Moves a latent by what encoding its picture changes in it, beside what the target's latent is."""

    def __init__(
        self,
        autoencoder: Autoencoder,
        objective: Objective,
        start: Tensor,
        optimizer: str,
        lr: float,
        *,
        own_loss: bool,
    ) -> None:
        """With `own_loss` its loss is the residual's mean square; otherwise it is the objective's, to look at."""
        self.autoencoder, self.objective, self.lr, self.own_loss = autoencoder, objective, lr, own_loss
        self.latent = start.detach().clone()
        self.size = (objective.target.shape[-2], objective.target.shape[-1])
        with torch.no_grad():
            self.goal = autoencoder.encode(objective.target)
        self.updater = GRADIENT_FREE[optimizer]([self.latent], lr)

    @torch.no_grad()
    def advance(self, share: float, last: bool) -> _Evaluation:
        """Decode, encode again, and move by the difference."""
        latent = self.latent.clone()
        image = self.autoencoder.decode(latent, self.size)
        passes = FORWARD
        norm = None
        if not last or self.own_loss:
            residual = self.autoencoder.encode(image) - self.goal
            passes += FORWARD
            norm = residual.flatten(1).norm(dim=1)
        if self.own_loss:
            loss = residual.square().mean(dim=(1, 2, 3))
            parts = {"residual": loss}
        else:
            loss, parts = self.objective(image)
        if not last:
            self.latent.grad = residual
            _set_rate(self.updater, share * self.lr)
            self.updater.step()
        return _Evaluation(latent, image, loss, parts, None if last else norm, passes)


def _set_rate(updater: Optimizer, rate: float) -> None:
    for group in updater.param_groups:
        group["lr"] = rate


def _first_scale(norm: Tensor, values: int) -> Tensor:
    """What brings a gradient of `norm` (n,) over so many values to RMS 1; 1 where there is no gradient."""
    rms = norm / math.sqrt(values)
    return torch.where((rms > 0) & torch.isfinite(rms), 1 / rms, torch.ones_like(rms))


class _Checks:
    """Watches that runs stay finite, `together` steps at a time."""

    def __init__(self, together: int) -> None:
        self.together = together
        self.waiting: list[tuple[int, Tensor, Tensor, Tensor]] = []

    def add(self, now: _Evaluation, index: int, last: bool) -> None:
        """Look at a step, or remember to; raises `DivergedError` naming what left the finite."""
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
                "Try a smaller --lr.",
            )
        self.waiting.clear()
