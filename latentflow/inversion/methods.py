"""The methods and optimizers by name: what each needs and how far it moves by default. Costs no torch.

A method is one `Method` here and its update rule in a module of its own; an optimizer is one `Optimizer` here. A method
takes every optimizer that can move by what it gives. Installed packages bring more, by entry points in the groups
latentflow.methods and latentflow.optimizers. The choices of the command line are made of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latentflow.base.constants import RULES
from latentflow.base.errors import InputError
from latentflow.base.registry import Registry, find_object, record_of

if TYPE_CHECKING:
    from torch import Tensor

_SHARED = RULES["methods"]
RATE, RATE_NEAR = float(_SHARED["gradient"]["lr"]), float(_SHARED["hybrid"]["lr"])
PLAIN = float(_SHARED["gradient_free"]["constants"]["momentum"])  # of km
INERTIA = 0.5  # of inertial_km
REMAINING = _SHARED["gradient_free"]["remaining"]  # fraction of the distance that is left after the last step
FARTHEST = 3.0  # that a value of unit variance has to move


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Moves a latent: `updates`, "module:class" with a dot before a module of this package, with these `constants`.

    `moves_by` says what it can be given: "gradient" and "residual" are directions for `move`, with "closure" it
    evaluates by itself in `search`. One that `couples_batch` searches along a line, which decides by all images of a
    batch together: it takes one image.
    """

    name: str
    updates: str
    moves_by: frozenset[str]
    constants: Mapping[str, Any] = field(default_factory=dict, hash=False)
    couples_batch: bool = False


# A short memory: an average over some three gradients, scaled by some five. Adam's usual (0.9, 0.999) remembers the
# large gradients of the beginning, and is up to 12 dB behind after 100 steps. docs/published.md has the measurements.
BETAS = tuple(_SHARED["gradient"]["constants"]["betas"])
# Near the target the gradients change less from step to step.
BETAS_NEAR = tuple(_SHARED["hybrid"]["constants"]["betas"])
_GRADIENT, _RESIDUAL, _CLOSURE = frozenset({"gradient"}), frozenset({"residual"}), frozenset({"closure"})
_ADAM, _SGD = ".updates:Adam", ".updates:Sgd"
_OPTIMIZERS = (
    Optimizer(
        name="adam",
        updates=_ADAM,
        moves_by=_GRADIENT | _RESIDUAL,
        constants={"betas": BETAS, "weight_decay": 0.0},
    ),
    Optimizer(name="adamw", updates=_ADAM, moves_by=_GRADIENT, constants={"betas": BETAS, "weight_decay": 0.01}),
    Optimizer(name="sgd", updates=_SGD, moves_by=_GRADIENT, constants={"momentum": 0.9, "nesterov": False}),
    Optimizer(name="lbfgs", updates=".updates:Lbfgs", moves_by=_CLOSURE, couples_batch=True),
    Optimizer(
        name="km",
        updates=_SGD,
        moves_by=_RESIDUAL,
        constants={"momentum": PLAIN, "nesterov": False},
    ),
    # Nesterov's form keeps the point that is evaluated, as the inertial iteration does.
    Optimizer(name="inertial_km", updates=_SGD, moves_by=_RESIDUAL, constants={"momentum": INERTIA, "nesterov": True}),
)
OPTIMIZERS = Registry("optimizers", {each.name: each for each in _OPTIMIZERS}, record_of(Optimizer))


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method to get from the initial latent to the target: in a few words, what it `gives` its optimizers, the name
    of its default `optimizer`, its default learning rate for an optimizer and a number of steps, the `betas` it gives
    Adam, and its update rule, "module:class" with a dot before a module of this package.

    With `uses_loss` it follows the loss; one that `couples_batch` takes one image only.
    """

    name: str
    words: str
    gives: frozenset[str]
    optimizer: str
    default_lr: Callable[[Optimizer, int], float]
    rule: str
    betas: tuple[float, float] = BETAS
    uses_loss: bool = True
    couples_batch: bool = False

    def update_rule(self) -> Any:
        """The class that makes the steps, a `latentflow.inversion.rules.UpdateRule`; imports torch."""
        return find_object(self.rule, "latentflow.inversion")

    def takes(self, optimizer: Optimizer) -> bool:
        """Tell whether an optimizer can move by what this method gives."""
        return bool(self.gives & optimizer.moves_by)

    @property
    def optimizers(self) -> list[Optimizer]:
        """All optimizers that it takes, the default one first."""
        able = [each for each in OPTIMIZERS.usable() if self.takes(each)]
        return sorted(able, key=lambda each: each.name != self.optimizer)


def _gradient_free_lr(optimizer: Optimizer, steps: int) -> float:
    """A rate under which `steps` steps cover 99 % of the distance, as (1 − lr)^steps = 0.01 does where the residual
    shrinks evenly, so that there is something to see in all of them."""
    if optimizer.updates == _ADAM:
        return FARTHEST / steps
    rate = 1 - REMAINING ** (1 / steps)
    return rate * (1 - float(optimizer.constants.get("momentum", 0.0)))


_METHODS = (
    Method(
        name="gradient",
        words="follow the gradient of the loss",
        gives=_GRADIENT | _CLOSURE,
        optimizer="adam",
        default_lr=lambda _, __: RATE,
        rule=".gradient:Gradient",
    ),
    Method(
        name="gradient_free",
        words="forward passes only, fast, ignores the loss",
        gives=_RESIDUAL,
        optimizer="km",
        default_lr=_gradient_free_lr,
        rule=".gradient_free:GradientFree",
        uses_loss=False,
    ),
    Method(
        name="hybrid",
        words="gradient_free first, then gradient; up to 20 steps it jumps to the picture, with more it goes there "
        "in even steps",
        gives=_GRADIENT | _CLOSURE,
        optimizer="adam",
        default_lr=lambda _, __: RATE_NEAR,
        rule=".hybrid:Hybrid",
        betas=BETAS_NEAR,
        couples_batch=True,
    ),
)
METHODS = Registry("methods", {method.name: method for method in _METHODS}, record_of(Method))


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The method, the optimizer, its numbers and the number of steps of a run, defaults filled in."""

    method: Method
    optimizer: Optimizer
    lr: float
    constants: Mapping[str, Any]
    steps: int

    def updates(self, latent: Tensor) -> Any:
        """The updates of a latent, which they move in place; imports torch."""
        return find_object(self.optimizer.updates, "latentflow.inversion")(latent, **self.constants)

    @property
    def betas(self) -> tuple[float, float] | None:
        """The decay rates of Adam's averages, where there are such."""
        return self.constants.get("betas")

    @property
    def couples_batch(self) -> str:
        """The name of what takes one image at a time, or an empty string."""
        return next((each.name for each in (self.optimizer, self.method) if each.couples_batch), "")


def choose(
    method: str,
    optimizer: str | None,
    lr: float | None,
    steps: int,
    betas: Sequence[float] | None = None,
) -> Choice:
    """Choose the optimizer and rate of a run: the given ones, or the method's own.

    Raises `InputError` for an unknown method, for an optimizer that the method does not know, and for `betas` that are
    no two numbers in [0, 1) or that the optimizer does not have.
    """
    if method not in METHODS:
        raise InputError(f"`method` is one of {', '.join(METHODS)}, not {method!r}.")
    chosen = METHODS[method]
    name = optimizer or chosen.optimizer
    if name not in OPTIMIZERS or not chosen.takes(OPTIMIZERS[name]):
        able = [each.name for each in chosen.optimizers]
        raise InputError(
            f"`optimizer` {optimizer} is not for `method` {method}.", f"It takes one of {', '.join(able)}."
        )
    moving = OPTIMIZERS[name]
    constants = dict(moving.constants)
    if betas is not None:
        constants["betas"] = _checked_betas(moving, betas)
    elif "betas" in constants:
        constants["betas"] = chosen.betas
    rate = chosen.default_lr(moving, steps) if lr is None else lr
    return Choice(method=chosen, optimizer=moving, lr=rate, constants=constants, steps=steps)


def _checked_betas(optimizer: Optimizer, betas: Sequence[float]) -> tuple[float, float]:
    if "betas" not in optimizer.constants:
        having = [each.name for each in OPTIMIZERS.usable() if "betas" in each.constants]
        raise InputError(f"`optimizer` {optimizer.name} has no `betas`.", f"Those that have: {', '.join(having)}.")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise InputError(f"`betas` are two numbers of at least 0 and below 1, not {', '.join(map(str, betas))}.")
    return (betas[0], betas[1])
