"""hybrid: gradient-free steps to the target's picture, then the gradient of the objective.

A run of up to `SHORT` steps jumps: each gradient-free step goes the whole way, z ← z − (E(D(z)) − E(x)). A longer one
first walks, so that there is something to see: in `walk_length` steps it goes 1/K, 1/(K − 1), … and at last the whole
of the way that is left, so that the picture changes evenly; its jumps go half the way. Either jumps until PSNR rises by
less than `WORTHWHILE` dB per pass through the network, and then turns to the gradient. All figures belong to the
objective.

A gradient-free step decodes and encodes; it needs no backward pass, and the first jumps raise PSNR more per pass than
the gradient does. But it knows the target alone and none of the losses, and it comes to rest where E(D(z)) = E(x):
there the encoder sees no difference any more, although the loss is seldom at its minimum. So the gradient takes over,
from a latent that is already near. The walk divides the way evenly because people watch it. With 1/K of the way first,
then 1/(K − 1) of the rest, and so on, every step covers about the same distance, while jumps alone would be over after
a few frames. After a walk a jump goes half the way, and the gradient's rate rises over `RAMP` updates, so that neither
shows as a leap. PSNR decides when to turn because it compares both kinds of steps under any objective; it is counted
per pass because they differ in cost.
"""

from typing import Any

import torch
from torch import Tensor

from latentflow.base.constants import RULES
from latentflow.inversion.gradient import Gradient
from latentflow.inversion.gradient_free import GradientFree
from latentflow.inversion.methods import Choice, choose
from latentflow.inversion.metrics import psnr
from latentflow.inversion.objective import Objective
from latentflow.inversion.rules import FORWARD, Evaluation, UpdateRule
from latentflow.models.autoencoder import Autoencoder

_OWN = RULES["hybrid"]
SHORT: int = _OWN["short"]  # steps; runs up to this length don't walk
WALKED: float = _OWN["walked"]  # of the steps beyond `SHORT`: with the rest a run ends as near as without a walk
HALF: float = _OWN["half"]  # of the way, by a jump after a walk: the whole way would be a leap among small steps
RAMP: int = _OWN["ramp"]  # updates in which the rate rises after a walk: the first of Adam moves all by the full rate
WORTHWHILE: float = _OWN["worthwhile"]  # dB per pass through the network: about what Adam's first updates bring
WALK, JUMP, GRADIENT = "walk", "jump", "gradient"


def walk_length(steps: int) -> int:
    """Return the number of walking steps in a run of `steps` steps."""
    return round(WALKED * max(0, steps - SHORT))


class Hybrid(UpdateRule):
    """Begins without the gradient and goes on with it. Takes one image."""

    def __init__(self, autoencoder: Autoencoder, objective: Objective, latent: Tensor, choice: Choice) -> None:
        super().__init__(autoencoder, objective, latent, choice)
        self.phase: _GradientFree | Gradient = self._gradient_free(latent)
        self.phases = dict.fromkeys((WALK, JUMP, GRADIENT), 0)
        self.walk = walk_length(choice.steps)
        self.before: tuple[float, int] | None = None  # PSNR and passes of the last record, if a jump followed it

    @property
    def latent(self) -> Tensor:  # type: ignore[override]
        """The latent of the phase."""
        return self.phase.latent

    @property
    def ended(self) -> str:  # type: ignore[override]
        """The reason why the current phase ended, or an empty text."""
        return self.phase.ended

    def advance(self, fraction: float, *, last: bool) -> Evaluation:
        """One step of the phase, and a look at whether the jump before it still paid."""
        if isinstance(self.phase, Gradient):
            self.phases[GRADIENT] += not last
            rising = min(1, self.phases[GRADIENT] / RAMP) if self.walk else 1
            return self.phase.advance(fraction * rising, last=last)
        walks = self.phases[WALK] < self.walk
        stride = 1 / (self.walk - self.phases[WALK]) if walks else HALF if self.walk else 1.0
        now = self.phase.advance(stride, last=last)
        self.phases[WALK if walks else JUMP] += not last
        reached = float(psnr(now.image, self.objective.target, self.objective.mask)[0])
        if self.before is not None and not (reached - self.before[0]) / self.before[1] >= WORTHWHILE:
            self._turn()
        self.before = None if walks else (reached, now.passes)
        return now

    def _gradient_free(self, latent: Tensor) -> "_GradientFree":
        return _GradientFree(self.autoencoder, self.objective, latent, choose("gradient_free", "km", 1.0, 1))

    def _turn(self) -> None:
        self.phase = Gradient(self.autoencoder, self.objective, self.phase.latent, self.choice)

    def state(self) -> dict[str, Any]:
        """The state of the phase, how many steps each phase took, and what the next decision is made by."""
        return {**self.phase.state(), "before": self.before, "phases": self.phases, "walk": self.walk}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state()`."""
        if state["by_gradient"]:
            self._turn()
        else:
            self.phase = self._gradient_free(self.phase.latent)
        self.phase.restore(state)
        before = state["before"]
        self.before = None if before is None else (float(before[0]), int(before[1]))
        self.phases = dict(state.get("phases", dict.fromkeys((WALK, JUMP, GRADIENT), 0)))
        self.walk = state.get("walk", 0)  # 0.1.0 didn't walk


class _GradientFree(GradientFree):
    """Gradient-free steps; their figures belong to the objective."""

    @torch.no_grad()
    def advance(self, fraction: float, *, last: bool) -> Evaluation:
        latent = self.latent.clone()
        image = self.autoencoder.decode(latent, self.size)
        loss, parts = self.objective(image)
        if last:
            return Evaluation(latent, image, loss, parts, None, FORWARD, 0.0)
        norm = self.move(self.autoencoder.encode(self.objective.composed(image)) - self.goal, fraction)
        return Evaluation(latent, image, loss, parts, norm, 2 * FORWARD, fraction * self.choice.lr)
