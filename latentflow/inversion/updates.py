"""Optimizers for one latent: they move it along a direction d at the rate r, by the rules of torch.optim.

They are written out because importing torch.optim takes a second. Their states have the layout of torch's
`state_dict()`, which checkpoints hold.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from latentflow.base.constants import RULES


class Updates(ABC):
    """The updates of one latent, in place; `constants` are the numbers of the rule."""

    def __init__(self, latent: Tensor, **constants: Any) -> None:
        self.latent, self.constants = latent, constants
        self.memory: dict[str, Any] = {}  # what the rule remembers of the updates before

    @abstractmethod
    def move(self, direction: Tensor, lr: float) -> None:
        """Move the latent down a direction of its shape."""

    def state_dict(self) -> dict[str, Any]:
        """Memory and constants, in torch's layout."""
        return {"state": {0: self.memory}, "param_groups": [self.constants]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict()`, of torch's optimizer too, with its constants; raises KeyError or ValueError for
        the state of a different rule."""
        group = state["param_groups"][0]
        self.constants = {name: group[name] for name in self.constants}
        memory = state["state"].get(0, {})
        for name, value in memory.items():
            if isinstance(value, Tensor) and value.ndim and value.shape != self.latent.shape:
                raise ValueError(f"its {name} has shape {tuple(value.shape)}")
        self.memory = {
            name: value.clone().to(self.latent.device) if isinstance(value, Tensor) and value.ndim else value
            for name, value in memory.items()
        }


class Adam(Updates):
    """m ← β₁m + (1 − β₁)d, v ← β₂v + (1 − β₂)d², z ← (1 − rλ)z − r·m̂/(√v̂ + ε) with the bias of m and v corrected
    (Kingma and Ba 2015, arXiv:1412.6980) and a decay λ of the latent itself (Loshchilov and Hutter 2019, AdamW,
    arXiv:1711.05101)."""

    EPSILON: float = RULES["methods"]["gradient"]["constants"]["epsilon"]

    @torch.no_grad()
    def move(self, direction: Tensor, lr: float) -> None:
        first, second = self.constants["betas"]
        memory = self.memory or {"step": 0, "exp_avg": torch.zeros_like(direction), "exp_avg_sq": 0 * direction}
        step, mean, square = int(memory["step"]) + 1, memory["exp_avg"], memory["exp_avg_sq"]
        mean.lerp_(direction, 1 - first)
        square.mul_(second).addcmul_(direction, direction, value=1 - second)
        root = (square.sqrt() / math.sqrt(1 - second**step)).add_(self.EPSILON)
        self.latent.mul_(1 - lr * self.constants["weight_decay"])
        self.latent.addcdiv_(mean, root, value=-lr / (1 - first**step))
        self.memory = {"step": step, "exp_avg": mean, "exp_avg_sq": square}


class Sgd(Updates):
    """b ← μb + d, z ← z − r·b, or z ← z − r·(d + μb) in Nesterov's form."""

    @torch.no_grad()
    def move(self, direction: Tensor, lr: float) -> None:
        momentum, nesterov = self.constants["momentum"], self.constants["nesterov"]
        if momentum:
            before = self.memory.get("momentum_buffer")
            buffer = direction.clone() if before is None else before.mul_(momentum).add_(direction)
            self.memory = {"momentum_buffer": buffer}
            direction = direction.add(buffer, alpha=momentum) if nesterov else buffer
        self.latent.add_(direction, alpha=-lr)


class Lbfgs:
    """torch's L-BFGS, one iteration an update, so that a record is an iterate and not twenty of them."""

    def __init__(self, latent: Tensor) -> None:
        from torch.optim import LBFGS

        self.latent = latent

        options: dict[str, Any] = {"max_iter": 1, "tolerance_grad": 0, "tolerance_change": 1e-12}
        self.optimizer = LBFGS([latent], line_search_fn="strong_wolfe", **options)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Lbfgs":  # torch's own copy forgets its parameters
        twin = Lbfgs(copy.deepcopy(self.latent, memo))
        twin.load_state_dict(copy.deepcopy(self.state_dict()))
        return twin

    def search(self, closure: Callable[[], float], lr: float) -> None:
        """Move to where a line search along the quasi-Newton direction ends; `closure` evaluates loss and gradient."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """torch's."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict()`."""
        self.optimizer.load_state_dict(state)
