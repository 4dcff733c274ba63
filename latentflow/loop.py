"""The loop: follow the gradient of an objective through a frozen decoder, one record a step."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from latentflow.autoencoder import Autoencoder
from latentflow.errors import DivergedError, InputError
from latentflow.measures import psnr
from latentflow.objective import Objective
from latentflow.records import Step

LARGEST_RMS = 100.0
OPTIMIZERS: dict[str, Callable[[list[Tensor], float], torch.optim.Optimizer]] = {
    "adam": lambda latents, lr: torch.optim.Adam(latents, lr=lr),
    "adamw": lambda latents, lr: torch.optim.AdamW(latents, lr=lr),
    "sgd": lambda latents, lr: torch.optim.SGD(latents, lr=lr, momentum=0.9),
    # one iteration a step, so that a record is an iterate and not twenty of them
    "lbfgs": lambda latents, lr: torch.optim.LBFGS(
        latents, lr=lr, max_iter=1, tolerance_grad=0, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    ),
}
SCHEDULES: dict[str, Callable[[float], float]] = {  # progress in [0, 1) → share of the rate
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: 0.5 + 0.5 * math.cos(math.pi * progress),
    "warmup_cosine": lambda progress: (
        (progress + 0.01) / 0.11 if progress < 0.1 else 0.5 + 0.5 * math.cos(math.pi * (progress - 0.1) / 0.9)
    ),
}


@dataclass(slots=True)
class _Evaluation:
    """The picture of one latent and its figures, taken together so that they belong together."""

    latent: Tensor
    image: Tensor
    loss: Tensor
    parts: dict[str, Tensor]
    grad_norm: Tensor | None
    scaled_loss: Tensor


def optimize(
    autoencoder: Autoencoder,
    objective: Objective,
    start: Tensor,
    *,
    steps: int = 100,
    lr: float = 0.1,
    optimizer: str = "adam",
    schedule: str = "constant",
) -> Iterator[Step]:
    """Move the latents `start`, (n, c, rows, columns), towards lower loss; yield `steps` + 1 records.

    Record k holds the latent after k updates with its own picture and loss, so the last update is seen. Every image
    of a batch goes the way it would go alone: the loss is a sum, and L-BFGS takes one image only. The gradient is
    divided, image by image, by its RMS at the start, so that `lr` is in units of the latent for every optimizer, loss
    and picture size; figures in the records are of the loss as it is.

    Raises `InputError` for an unknown optimizer or schedule and for a batch under L-BFGS, `DivergedError` when loss,
    gradient or latent is not finite or the latent's RMS passes 100; the records before have been yielded by then.
    """
    if optimizer not in OPTIMIZERS or schedule not in SCHEDULES:
        raise InputError(
            f"There is no optimizer {optimizer!r} with schedule {schedule!r}.",
            f"Optimizers: {', '.join(OPTIMIZERS)}; schedules: {', '.join(SCHEDULES)}.",
        )
    if optimizer == "lbfgs" and len(start) != 1:
        raise InputError("lbfgs takes one image at a time: its line search would couple a batch.")
    latent = start.detach().clone().requires_grad_()
    size = (objective.target.shape[-2], objective.target.shape[-1])
    updater = OPTIMIZERS[optimizer]([latent], lr)

    scale: Tensor | None = None

    def evaluate(backward: bool = True) -> _Evaluation:
        nonlocal scale
        updater.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(backward):
            image = autoencoder.decode(latent, size)
            loss, parts = objective(image)
        norm = None
        if backward:
            loss.sum().backward()
            assert latent.grad is not None
            norm = latent.grad.flatten(1).norm(dim=1)
            if scale is None:
                scale = _first_scale(norm, latent[0].numel())
            latent.grad.mul_(scale[:, None, None, None])
        scaled = loss.detach() if scale is None else loss.detach() * scale
        return _Evaluation(latent.detach().clone(), image.detach(), loss.detach(), parts, norm, scaled)

    for index in range(steps + 1):
        began = time.perf_counter()
        rate = lr * SCHEDULES[schedule](index / steps) if index < steps else 0.0
        for group in updater.param_groups:
            group["lr"] = rate
        if index == steps:
            now = evaluate(backward=False)
        else:
            now = _updated(updater, evaluate)
        _check_finite(now, index)
        yield Step(
            index=index,
            total=steps,
            latent=now.latent,
            image=now.image,
            loss=now.loss,
            parts=now.parts,
            psnr=psnr(now.image, objective.target),
            grad_norm=now.grad_norm,
            lr=rate,
            seconds=time.perf_counter() - began,
        )


def _first_scale(norm: Tensor, values: int) -> Tensor:
    """What brings a gradient of `norm` (n,) over so many values to RMS 1; 1 where there is no gradient."""
    rms = norm / math.sqrt(values)
    return torch.where((rms > 0) & torch.isfinite(rms), 1 / rms, torch.ones_like(rms))


def _updated(updater: torch.optim.Optimizer, evaluate: Callable[[], _Evaluation]) -> _Evaluation:
    """Update once; the evaluation is of the latent before the update, the first that the optimizer asks for."""
    seen: list[_Evaluation] = []

    def closure() -> float:
        now = evaluate()
        if not seen:  # a line search asks again, of latents it may not keep
            seen.append(now)
        return float(now.scaled_loss.sum()) if isinstance(updater, torch.optim.LBFGS) else 0.0

    updater.step(closure)  # type: ignore[arg-type]
    return seen[0]


def _check_finite(now: _Evaluation, index: int) -> None:
    """Raise `DivergedError` naming the first image of the batch that left the finite, and what left it."""
    rms = now.latent.square().mean(dim=(1, 2, 3)).sqrt()
    norm = torch.zeros_like(now.loss) if now.grad_norm is None else now.grad_norm
    fine = torch.isfinite(now.loss) & torch.isfinite(norm) & (rms <= LARGEST_RMS)
    if bool(fine.all()):
        return
    image = int(torch.nonzero(~fine)[0])
    raise DivergedError(
        f"The run diverged at step {index}: loss {float(now.loss[image]):g}, gradient norm {float(norm[image]):g}, "
        f"latent RMS {float(rms[image]):g}.",
        "Try a smaller --lr.",
    )
