"""gradient_free: move a latent by what encoding its picture changes in it, with forward passes alone.

z ← z − lr · (E(D(z)) − E(x)) for a target x, or the same residual through Adam or with inertia (Hong et al.,
"Gradient-free Decoder Inversion in Latent Diffusion Models", 2024, arXiv:2409.18442). It knows the target of the
objective and none of its losses; its loss is the residual's mean square. Under a mask it goes to the target wherever
the mask isn't black, and a latent cell counts in the mean by the gray of its pixels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from latentflow import losses
from latentflow.inversion.methods import Choice
from latentflow.inversion.objective import Objective
from latentflow.inversion.rules import FORWARD, Evaluation, UpdateRule, restored_latent
from latentflow.models.autoencoder import Autoencoder


class GradientFree(UpdateRule):
    """Moves a latent by the difference between its picture's latent and the target's."""

    def __init__(self, autoencoder: Autoencoder, objective: Objective, latent: Tensor, choice: Choice) -> None:
        super().__init__(autoencoder, objective, latent, choice)
        self.latent = latent.detach().clone()
        with torch.no_grad():
            self.goal = autoencoder.encode(objective.target)
        self.updates = choice.updates(self.latent)
        mask = objective.mask
        self.cells = None if mask is None else avg_pool2d(mask, autoencoder.stride, ceil_mode=True)

    @torch.no_grad()
    def advance(self, fraction: float, *, last: bool) -> Evaluation:
        """Decode, encode again, and move by the difference."""
        latent = self.latent.clone()
        image = self.autoencoder.decode(latent, self.size)
        residual = self.autoencoder.encode(self.objective.composed(image)) - self.goal
        loss = losses.weighted_mean(residual.square(), self.cells)
        norm = None if last else self.move(residual, fraction)
        lr = 0.0 if last else fraction * self.choice.lr
        return Evaluation(latent, image, loss, {"residual": loss}, norm, 2 * FORWARD, lr)

    def move(self, residual: Tensor, fraction: float) -> Tensor:
        """Move the latent along a residual; gives the residual's norm, (n,)."""
        self.updates.move(residual, fraction * self.choice.lr)
        return residual.flatten(1).norm(dim=1)

    def state(self) -> dict[str, Any]:
        """Latent and optimizer."""
        return {
            "by_gradient": False,
            "latent": self.latent,
            "updater": self.updates.state_dict(),
            "scale": None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state()`."""
        self.latent.data.copy_(restored_latent(self.latent, state))
        self.updates.load_state_dict(state["updater"])
