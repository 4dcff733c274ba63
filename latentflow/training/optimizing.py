"""Updates of weights in every training: optimizer, learning rate, average, seeds."""

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentflow.base.errors import DivergedError

WARMUP_STEPS, WARMUP_FRACTION = 300, 0.05  # the warm-up ends after these steps or this fraction of the training
_building = threading.Lock()  # torch draws initial weights from the random state of the process


@contextlib.contextmanager
def building(seed: int) -> Iterator[None]:
    """Draw initial weights from a seed, while it lasts, and leave the random state of the process as it was."""
    with _building, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(step_seed(seed, 0, 0))
        yield


def learning_rate(peak: float, step: int, progress: float) -> float:
    """The learning rate of the update after `step`: a linear warm-up, then half a cosine; `progress` is the fraction
    of the training that is done."""
    warm = min(1.0, max((step + 1) / WARMUP_STEPS, progress / WARMUP_FRACTION))
    return peak * warm * (0.5 + 0.5 * math.cos(math.pi * progress))


def diverged(step: int, loss: Tensor, norm: Tensor) -> DivergedError:
    """The error for a training that diverged: its loss or gradient is not finite."""
    return DivergedError(
        f"The training diverged at step {step}: loss {float(loss):g}, gradient norm {float(norm):g}.",
        "Use a smaller `lr`.",
    )


def adamw(parameters: Iterator[Tensor], lr: float) -> torch.optim.AdamW:
    """AdamW as all trainings use it."""
    return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98), weight_decay=1e-3)


def averaging(decay: float) -> Callable[..., None]:
    """An exponential moving average; its decay is at most (1 + n) / (10 + n) after n updates."""

    def average(averaged: list[Tensor], current: list[Tensor], count: Any) -> None:
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, current, weight)

    return average


def step_seed(seed: int, step: int, process: int) -> int:
    """The seed of the noise of one step in one process."""
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1, np.uint64)[0] >> np.uint64(1))
