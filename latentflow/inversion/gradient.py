"""gradient: follow the gradient of the objective through the decoder.

z ← optimizer(z, s · ∇L(D(z))), where s = 1 / RMS(∇L(D(z₀))), image by image: so `lr` is in units of the latent for
every optimizer, loss and picture size. Figures in the records are of the loss as it is.
"""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from latentflow.inversion.methods import Choice
from latentflow.inversion.objective import Objective
from latentflow.inversion.rules import (
    BACKWARD,
    FORWARD,
    Evaluation,
    UpdateRule,
    restored_latent,
    unit_scale,
)
from latentflow.models.autoencoder import Autoencoder

PATIENCE = 5  # updates in a row without a lower loss, after which a line search finds none


class Gradient(UpdateRule):
    """Follows the gradient of an objective through the decoder."""

    def __init__(self, autoencoder: Autoencoder, objective: Objective, latent: Tensor, choice: Choice) -> None:
        super().__init__(autoencoder, objective, latent, choice)
        self.latent = latent.detach().clone().requires_grad_()
        self.updates = choice.updates(self.latent)
        self.scale: Tensor | None = None
        self.lowest, self.in_vain = math.inf, 0

    def advance(self, fraction: float, *, last: bool) -> Evaluation:
        """Decode, compare, and move down the gradient."""
        if last:
            return self._evaluate(0.0, backward=False)
        lr = fraction * self.choice.lr
        if self.choice.optimizer.couples_batch:
            return self._search(lr)
        now = self._evaluate(lr)
        assert self.latent.grad is not None
        self.updates.move(self.latent.grad, lr)
        return now

    def _search(self, lr: float) -> Evaluation:
        """Move to the end of a line search, which evaluates latents that it may not keep."""
        seen: list[Evaluation] = []

        def closure() -> float:
            seen.append(self._evaluate(lr))
            assert self.scale is not None
            return float((seen[-1].loss * self.scale).sum())

        self.updates.search(closure, lr)
        self._count_in_vain(float(seen[0].loss.sum()))
        return replace(seen[0], passes=sum(each.passes for each in seen))

    def _count_in_vain(self, loss: float) -> None:
        self.in_vain = 0 if loss < self.lowest else self.in_vain + 1
        self.lowest = min(loss, self.lowest)
        if self.in_vain >= PATIENCE:
            self.ended = f"`optimizer` {self.choice.optimizer.name} found no lower loss in {PATIENCE} steps"

    def _evaluate(self, lr: float, *, backward: bool = True) -> Evaluation:
        self.latent.grad = None
        with torch.set_grad_enabled(backward):
            image = self.autoencoder.decode(self.latent, self.size)
            loss, parts = self.objective(image)
        norm = None
        if backward:
            # not backward(), which would add up gradients in weights that a caller's function hides
            (self.latent.grad,) = torch.autograd.grad(loss.sum(), self.latent)
            norm = self.latent.grad.flatten(1).norm(dim=1)
            if self.scale is None:
                self.scale = unit_scale(norm, self.latent[0].numel())
            self.latent.grad.mul_(self.scale[:, None, None, None])
        passes = FORWARD + BACKWARD if backward else FORWARD
        return Evaluation(self.latent.detach().clone(), image.detach(), loss.detach(), parts, norm, passes, lr)

    def state(self) -> dict[str, Any]:
        """Latent, optimizer and the scale of the first gradient."""
        return {
            "by_gradient": True,
            "latent": self.latent,
            "updater": self.updates.state_dict(),
            "scale": self.scale,
            "in_vain": (self.lowest, self.in_vain),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state()`."""
        self.latent.data.copy_(restored_latent(self.latent, state))
        self.updates.load_state_dict(state["updater"])
        self.scale = None if state["scale"] is None else state["scale"].to(self.latent.device)
        self.lowest, self.in_vain = state.get("in_vain", (math.inf, 0))  # 0.1.0 didn't count
