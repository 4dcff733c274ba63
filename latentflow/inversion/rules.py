"""The interface of update rules: a rule evaluates a latent and moves it, once per step."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentflow.inversion.methods import Choice
from latentflow.inversion.objective import Objective
from latentflow.models.autoencoder import Autoencoder

FORWARD, BACKWARD = 1, 2  # the time they take, in forward passes


@dataclass(slots=True)
class Evaluation:
    """A latent, its picture and the figures of that picture, all of one point; `lr` is the rate of the update that
    follows."""

    latent: Tensor
    image: Tensor
    loss: Tensor
    parts: dict[str, Tensor]
    grad_norm: Tensor | None
    passes: int
    lr: float


class UpdateRule(ABC):
    """Evaluates `latent` (n, c, rows, columns) against the target of `objective` and moves it.

    `ended` says in a sentence why further steps would change nothing, and is empty as long as they do. `phases` counts
    the updates of each phase of a rule that has several.
    """

    latent: Tensor
    ended: str = ""
    phases: dict[str, int]

    def __init__(self, autoencoder: Autoencoder, objective: Objective, latent: Tensor, choice: Choice) -> None:
        self.autoencoder, self.objective, self.choice = autoencoder, objective, choice
        self.phases = {}
        self.size = (objective.target.shape[-2], objective.target.shape[-1])

    @abstractmethod
    def advance(self, fraction: float, *, last: bool) -> Evaluation:
        """Evaluate the latent and, unless it is the last, move it at `fraction` of the learning rate."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """All that going on exactly takes."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state()`; raises KeyError, ValueError or the like for the state of a different run."""


def restored_latent(latent: Tensor, state: dict[str, Any]) -> Tensor:
    """The latent of a state, on the device of the one it replaces; raises ValueError for another shape."""
    found: Tensor = state["latent"].to(latent.device)
    if found.shape != latent.shape:
        raise ValueError(f"its latent has shape {tuple(found.shape)}")
    return found


def unit_scale(norm: Tensor, values: int) -> Tensor:
    """The factor that gives gradients of `norm` (n,), with a number of `values` each, an RMS of 1; 1 where there is
    none."""
    rms = norm / math.sqrt(values)
    return torch.where((rms > 0) & torch.isfinite(rms), 1 / rms, torch.ones_like(rms))
