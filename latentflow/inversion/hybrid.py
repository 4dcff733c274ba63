"""hybrid: gradient-free steps at lr 1 while they pay, then the gradient of the objective.

It turns to the gradient once PSNR rises by less than `WORTHWHILE` dB a pass through the network. All its figures are of
the objective.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from latentflow.inversion.gradient import Gradient
from latentflow.inversion.gradient_free import GradientFree
from latentflow.inversion.methods import KM, Choice
from latentflow.inversion.metrics import psnr
from latentflow.inversion.objective import Objective
from latentflow.inversion.rules import FORWARD, Evaluation, UpdateRule
from latentflow.models.autoencoder import Autoencoder

WORTHWHILE = 0.04  # dB a pass: about what Adam's first updates bring


class Hybrid(UpdateRule):
    """Begins without the gradient and goes on with it. Takes one image."""

    def __init__(self, autoencoder: Autoencoder, objective: Objective, latent: Tensor, choice: Choice) -> None:
        super().__init__(autoencoder, objective, latent, choice)
        self.phase: _Jump | Gradient = self._jump(latent)
        self.before: tuple[float, int] | None = None  # PSNR and passes of the last record

    @property
    def latent(self) -> Tensor:  # type: ignore[override]
        """The latent of the phase."""
        return self.phase.latent

    @property
    def ended(self) -> str:  # type: ignore[override]
        """What the phase says."""
        return self.phase.ended

    def advance(self, fraction: float, *, last: bool) -> Evaluation:
        """One step of the phase, and a look at whether the first one still pays."""
        jumping = isinstance(self.phase, _Jump)
        now = self.phase.advance(1.0 if jumping else fraction, last=last)
        reached = float(psnr(now.image, self.objective.target)[0])
        if jumping and self.before is not None:
            before, passes = self.before
            if not (reached - before) / passes >= WORTHWHILE:
                self._turn(self.phase.latent)
        self.before = (reached, now.passes)
        return now

    def _jump(self, latent: Tensor) -> "_Jump":
        return _Jump(self.autoencoder, self.objective, latent, replace(self.choice, optimizer=KM, lr=1.0))

    def _turn(self, latent: Tensor) -> None:
        self.phase = Gradient(self.autoencoder, self.objective, latent, self.choice)

    def state(self) -> dict[str, Any]:
        """The state of the phase, and what the next decision is made by."""
        return {**self.phase.state(), "before": self.before}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state()`."""
        if state["by_gradient"]:
            self._turn(self.phase.latent)
        else:
            self.phase = self._jump(self.phase.latent)
        self.phase.restore(state)
        before = state["before"]
        self.before = None if before is None else (float(before[0]), int(before[1]))


class _Jump(GradientFree):
    """Gradient-free steps whose figures are the objective's."""

    @torch.no_grad()
    def advance(self, fraction: float, *, last: bool) -> Evaluation:
        latent = self.latent.clone()
        image = self.autoencoder.decode(latent, self.size)
        loss, parts = self.objective(image)
        if last:
            return Evaluation(latent, image, loss, parts, None, FORWARD, 0.0)
        norm = self.move(self.autoencoder.encode(image) - self.goal, fraction)
        return Evaluation(latent, image, loss, parts, norm, 2 * FORWARD, fraction * self.choice.lr)
