"""Losses bound to a target: "l1 + 0.1*ssim", "sinkhorn(blur=0.1)"."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latentflow import losses
from latentflow.config import did_you_mean
from latentflow.errors import InputError, LatentflowError, MissingPackageError
from latentflow.inversion.plugins import is_plugin, where

if TYPE_CHECKING:
    from torch import Tensor

_NUMBER = r"[0-9.][0-9.]*(?:[eE][+-]?[0-9]+)?"
_WEIGHT = re.compile(rf"\s*(?P<weight>{_NUMBER})\s*\*")
_NAME = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*")
_OPTION = re.compile(rf"\s*(?P<key>[A-Za-z_]\w*)\s*=\s*(?P<value>{_NUMBER})\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One loss of a weighted sum, with the options that were given to it."""

    weight: float
    name: str
    options: dict[str, float] = field(default_factory=dict)
    position: int = 0


def parse(text: str) -> list[Term]:
    """The terms of a weighted sum; raises `InputError` that points at the character it stumbled on."""
    terms: list[Term] = []
    position = 0
    while True:
        term, position = _term(text, position)
        if term.name in (known.name for known in terms):
            raise _wrong(text, term.position, f"{term.name} stands twice")
        terms.append(term)
        if position == len(text):
            return terms
        if text[position] != "+":
            raise _wrong(text, position, "expected + and another loss")
        position += 1


def _term(text: str, position: int) -> tuple[Term, int]:
    weight = 1.0
    weighted = _WEIGHT.match(text, position)
    if weighted:
        weight = _number(text, weighted, "weight")
        position = weighted.end()
    named = _NAME.match(text, position)
    if not named:
        raise _wrong(text, position, "expected a loss, or a weight, * and a loss")
    name = named["name"]
    if name not in losses.names():
        remedy = did_you_mean(name, losses.names()) or f"The losses are {', '.join(losses.names())}."
        raise _wrong(text, named.start("name"), f"there is no loss named {name!r}", remedy)
    options, end = _options(text, named.end())
    return Term(weight=weight, name=name, options=options, position=named.start("name")), end


def _options(text: str, position: int) -> tuple[dict[str, float], int]:
    """What stands in parentheses behind a name."""
    options: dict[str, float] = {}
    if position == len(text) or text[position] != "(":
        return options, position
    while True:
        option = _OPTION.match(text, position + 1)
        if not option:
            raise _wrong(text, position + 1, "expected an option, = and a number")
        if option["key"] in options:
            raise _wrong(text, option.start("key"), f"{option['key']} stands twice")
        options[option["key"]] = _number(text, option, "value")
        position = option.end()
        if position == len(text) or text[position] not in ",)":
            raise _wrong(text, position, "expected , or )")
        if text[position] == ")":
            end = re.compile(r"\s*").match(text, position + 1)
            assert end is not None
            return options, end.end()


def _number(text: str, match: re.Match[str], group: str) -> float:
    try:
        return float(match[group])
    except ValueError:
        raise _wrong(text, match.start(group), "this is no number") from None


def _wrong(text: str, position: int, what: str, remedy: str = "") -> InputError:
    while position < len(text) and text[position].isspace():
        position += 1
    return InputError(f"--loss_type {text!r}, character {position + 1}: {what}.", remedy)


class Objective:
    """A weighted sum of losses against one target (n, 3, h, w) in [0, 1].

    `load(name)` gives losses their networks (see `latentflow.models.networks.Networks`). Raises `InputError` for a
    text that is no sum of losses, for options a loss refuses and for a target smaller than a loss can see,
    `MissingPackageError` for a missing package.
    """

    def __init__(self, text: str, target: Tensor, load: Callable[[str], Any] | None = None) -> None:
        self.target = target
        self.terms: list[tuple[float, str, Callable[[Tensor], Tensor]]] = []
        for term in parse(text):
            cls = _found(term.name)
            smallest = cls.declaration.min_size
            if min(target.shape[-2:]) < smallest:
                height, width = target.shape[-2:]
                raise InputError(
                    f"{term.name} needs pictures of at least {smallest} × {smallest} pixels; this one is "
                    f"fitted to {width} × {height}.",
                    "Use --fit cover, or another loss.",
                )
            loss, bound = _bound(text, term, cls, load, target)
            self.terms.append((term.weight, loss.label, bound))

    @property
    def label(self) -> str:
        """The sum as it should be shown, stand-ins marked."""
        return " + ".join(label if weight == 1 else f"{weight:g}*{label}" for weight, label, _ in self.terms)

    def __call__(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum for each image of (n, 3, h, w), (n,), and the unweighted value of every term, (n,) each."""
        parts = {label: loss(image) for _, label, loss in self.terms}
        total = sum((weight * parts[label] for weight, label, _ in self.terms), start=image.new_zeros(len(image)))
        return total, {label: value.detach() for label, value in parts.items()}


def _found(name: str) -> Any:
    try:
        return losses.find(name)
    except ImportError as error:
        raise _missing(name, error) from error


def _bound(text: str, term: Term, cls: Any, load: Any, target: Tensor) -> tuple[Any, Callable[[Tensor], Tensor]]:
    """A loss and its comparison with the target; what goes wrong in a plugin is said with its file and line."""
    try:
        loss = cls(load, **term.options)
        bound = loss.bind(target)
    except ImportError as error:
        raise _missing(term.name, error) from error
    except ValueError as error:
        raise _wrong(text, term.position, f"{term.name}: {error}") from error
    except LatentflowError:
        raise
    except Exception as error:
        if not is_plugin(cls):
            raise
        raise InputError(f"The loss {term.name} of a plugin fails: {where(error)}.") from error
    return loss, _guarded(term.name, bound) if is_plugin(cls) else bound


def _guarded(name: str, bound: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A plugin's loss, held to its shape."""

    def call(image: Tensor) -> Tensor:
        try:
            values = bound(image)
        except Exception as error:
            raise InputError(f"The loss {name} of a plugin fails: {where(error)}.") from error
        shape = tuple(getattr(values, "shape", ()))
        if shape != (len(image),):
            raise InputError(
                f"The loss {name} of a plugin gives shape {shape}, not one value an image: {(len(image),)}."
            )
        return values

    return call


def _missing(name: str, error: ImportError) -> MissingPackageError:
    return MissingPackageError(f"The loss {name} needs a package: {error}.", f"pip install {error.name}")
