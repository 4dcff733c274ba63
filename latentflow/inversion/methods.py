"""The methods and optimizers by name: what each needs and how far it moves by default. Costs no torch.

A method is one `Method` here and its update rule in a module of its own; an optimizer is one `Optimizer` here. The
choices of the command line are made of these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from latentflow.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

INERTIA = 0.5  # of inertial_km
REMAINING = 0.01  # fraction of the distance that is left after the last step of a gradient-free run
FARTHEST = 3.0  # that a value of unit variance has to move


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Moves latents along a direction: `make` gives the torch optimizer for a list of latents and a learning rate.

    One that `couples_batch` decides by all images of a batch together, and so takes one image only.
    """

    name: str
    make: Callable[[list[Tensor], float], Any]
    couples_batch: bool = False


def _torch(name: str, **options: Any) -> Callable[[list[Tensor], float], Any]:
    """An optimizer of torch, which is imported when it is made."""

    def make(latents: list[Tensor], lr: float) -> Any:
        return getattr(import_module("torch.optim"), name)(latents, lr=lr, **options)

    return make


ADAM = Optimizer(name="adam", make=_torch("Adam"))
ADAMW = Optimizer(name="adamw", make=_torch("AdamW"))
SGD = Optimizer(name="sgd", make=_torch("SGD", momentum=0.9))
# One iteration a step, so that a record is an iterate and not twenty of them.
LBFGS = Optimizer(
    name="lbfgs",
    make=_torch("LBFGS", max_iter=1, tolerance_grad=0, tolerance_change=1e-12, line_search_fn="strong_wolfe"),
    couples_batch=True,
)
KM = Optimizer(name="km", make=_torch("SGD"))
# Nesterov's form keeps the point that is evaluated, as the inertial iteration does.
INERTIAL_KM = Optimizer(name="inertial_km", make=_torch("SGD", momentum=INERTIA, nesterov=True))


@dataclass(frozen=True, kw_only=True)
class Method:
    """How to get from the initial latent to the target: which `optimizers` it knows, the default first, its default
    learning rate for an optimizer and a number of steps, and its update rule, "module:class" in this package.

    With `uses_loss` it follows the loss; one that `couples_batch` takes one image only.
    """

    name: str
    optimizers: tuple[Optimizer, ...]
    default_lr: Callable[[Optimizer, int], float]
    rule: str
    uses_loss: bool = True
    couples_batch: bool = False

    def update_rule(self) -> Any:
        """The class that makes the steps, a `latentflow.inversion.rules.UpdateRule`; imports torch."""
        module, _, name = self.rule.partition(":")
        return getattr(import_module(f"latentflow.inversion.{module}"), name)


def _gradient_free_lr(optimizer: Optimizer, steps: int) -> float:
    """A rate under which `steps` steps cover 99 % of the distance, as (1 − lr)^steps = 0.01 does where the residual
    shrinks evenly, so that there is something to see in all of them."""
    if optimizer is ADAM:
        return FARTHEST / steps
    rate = 1 - REMAINING ** (1 / steps)
    return rate if optimizer is KM else rate * (1 - INERTIA)


_BY_GRADIENT = (ADAM, ADAMW, SGD, LBFGS)
METHODS = {
    method.name: method
    for method in (
        Method(name="gradient", optimizers=_BY_GRADIENT, default_lr=lambda _, __: 0.1, rule="gradient:Gradient"),
        Method(
            name="gradient_free",
            optimizers=(KM, INERTIAL_KM, ADAM),
            default_lr=_gradient_free_lr,
            rule="gradient_free:GradientFree",
            uses_loss=False,
        ),
        Method(
            name="hybrid",
            optimizers=_BY_GRADIENT,
            default_lr=lambda _, __: 0.04,
            rule="hybrid:Hybrid",
            couples_batch=True,
        ),
    )
}
OPTIMIZERS = {each.name: each for method in METHODS.values() for each in method.optimizers}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The method, the optimizer and the learning rate of a run, defaults filled in."""

    method: Method
    optimizer: Optimizer
    lr: float

    @property
    def couples_batch(self) -> str:
        """The name of what takes one image at a time, or an empty string."""
        return next((each.name for each in (self.optimizer, self.method) if each.couples_batch), "")


def choose(method: str, optimizer: str | None, lr: float | None, steps: int) -> Choice:
    """What a run moves by: what was asked for, or the method's own.

    Raises `InputError` for an unknown method and for an optimizer that the method does not know.
    """
    if method not in METHODS:
        raise InputError(f"`method` is one of {', '.join(METHODS)}, not {method!r}.")
    chosen = METHODS[method]
    known = {each.name: each for each in chosen.optimizers}
    name = optimizer or chosen.optimizers[0].name
    if name not in known:
        raise InputError(
            f"`optimizer` {optimizer} is not for `method` {method}.", f"It takes one of {', '.join(known)}."
        )
    rate = chosen.default_lr(known[name], steps) if lr is None else lr
    return Choice(method=chosen, optimizer=known[name], lr=rate)
