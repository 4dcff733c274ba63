"""Weighted sums of losses against a target, such as "l1 + 0.1*ssim" or "sinkhorn(blur=0.1)"."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latentflow import losses
from latentflow.config import did_you_mean
from latentflow.errors import InputError, LatentflowError, MissingPackageError
from latentflow.inversion.plugins import describe_error, is_plugin

if TYPE_CHECKING:
    from torch import Tensor

    from latentflow.losses import Load, Loss

_NUMBER = r"[0-9.][0-9.]*(?:[eE][+-]?[0-9]+)?"
_WEIGHT = re.compile(rf"\s*(?P<weight>{_NUMBER})\s*\*")
_NAME = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*")
_OPTION = re.compile(rf"\s*(?P<key>[A-Za-z_]\w*)\s*=\s*(?P<value>{_NUMBER})\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One loss of a weighted sum: its weight, its name, its options, and where its name begins in the text."""

    weight: float
    name: str
    options: dict[str, float] = field(default_factory=dict)
    position: int = 0


class _Mistake(Exception):
    """What is wrong at a character of a text, and what to do."""

    def of(self, text: str, option: str = "loss_type") -> InputError:
        """As an error that names the text and the option it is of."""
        what, remedy = self.args
        return InputError(f"`{option}` {text!r}, {what}.", remedy)


def parse(text: str, option: str = "loss_type") -> list[Term]:
    """The terms of a weighted sum of losses; raises `InputError` that names the `option` that the text is of and the
    character where it is wrong."""
    try:
        return _terms(text)
    except _Mistake as mistake:
        raise mistake.of(text, option) from None


def _terms(text: str) -> list[Term]:
    terms: list[Term] = []
    position = 0
    while True:
        term, position = _term(text, position)
        if term.name in (known.name for known in terms):
            raise _wrong(text, term.position, f"{term.name} is named twice")
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
    if not losses.is_known(name):
        remedy = did_you_mean(name, losses.names()) or f"The losses are {', '.join(losses.names())}."
        raise _wrong(text, named.start("name"), f"there is no loss named {name!r}", remedy)
    options, end = _options(text, named.end())
    return Term(weight=weight, name=name, options=options, position=named.start("name")), end


def _options(text: str, position: int) -> tuple[dict[str, float], int]:
    """The options in parentheses after a name, and the position after them."""
    options: dict[str, float] = {}
    if position == len(text) or text[position] != "(":
        return options, position
    while True:
        option = _OPTION.match(text, position + 1)
        if not option:
            raise _wrong(text, position + 1, "expected an option, = and a number")
        if option["key"] in options:
            raise _wrong(text, option.start("key"), f"{option['key']} is named twice")
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
        raise _wrong(text, match.start(group), "this is not a number") from None


def _wrong(text: str, position: int, what: str, remedy: str = "") -> _Mistake:
    while position < len(text) and text[position].isspace():
        position += 1
    return _Mistake(f"character {position + 1}: {what}", remedy)


class Objective:
    """A weighted sum of losses against one target (n, 3, h, w) in [0, 1], or, with a `mask` (n, 1, h, w) in [0, 1],
    against what is white in it.

    `load(name)` returns the network of a perceptual loss, as `latentflow.models.networks.Networks` does. Without it a
    network that is in the cache is used, else the bundled encoder, which the label shows, as in "lpips[bundled]";
    nothing is downloaded.

    Raises `InputError` for a text that is not a sum of losses, for options that a loss refuses, for a target of another
    shape or smaller than a loss needs and for a mask that doesn't fit it or is black everywhere; `MissingPackageError`
    for a missing package.
    """

    def __init__(self, text: str, target: Tensor, load: Load | None = None, mask: Tensor | None = None) -> None:
        self.target, self.mask = target, mask
        self.terms: list[tuple[float, str, Callable[[Tensor], Tensor]]] = []
        for term in parse(text):
            label, compare = _bind(text, term, load or _default_load(target), target, mask)
            self.terms.append((term.weight, label, compare))

    @property
    def label(self) -> str:
        """The sum as text, with the labels of networks that stand in for others."""
        return " + ".join(label if weight == 1 else f"{weight:g}*{label}" for weight, label, _ in self.terms)

    def composed(self, image: Tensor) -> Tensor:
        """The image within the mask, the target outside; without a mask the image."""
        return losses.composed(image, self.target, self.mask)

    def __call__(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum for each image, (n,), and the unweighted value of every term by its label, (n,) each.

        `image` has the shape of the target, nominally in [0, 1]; raises `InputError` for another shape.
        """
        parts = {label: loss(image) for _, label, loss in self.terms}
        total = sum((weight * parts[label] for weight, label, _ in self.terms), start=image.new_zeros(len(image)))
        return total, {label: value.detach() for label, value in parts.items()}


def _default_load(target: Tensor) -> Load:
    """The networks of an objective that was given none, made when a loss asks for one."""

    def load(name: str) -> Any:
        from latentflow.models.networks import Networks

        return Networks("auto", target.device)(name)

    return load


def _bind(
    text: str, term: Term, load: Load, target: Tensor, mask: Tensor | None
) -> tuple[str, Callable[[Tensor], Tensor]]:
    """The label of a loss, and the loss as a function of the image; errors of a plugin name its file and line."""
    cls: type[Loss] | None = None
    try:
        cls = losses.find(term.name)
        loss = cls(load, **term.options)
        compare = loss.bind(target, mask)
    except LatentflowError:
        raise
    except ImportError as error:
        raise MissingPackageError(
            f"The loss {term.name} needs a package: {error}.", f"pip install {error.name}"
        ) from error
    except ValueError as error:
        raise _wrong(text, term.position, f"{term.name}: {error}").of(text) from error
    except Exception as error:
        if cls is None or not is_plugin(cls):
            raise
        raise InputError(f"The loss {term.name} of a plugin fails: {describe_error(error)}.") from error
    return loss.label, _checked(term.name, compare) if is_plugin(cls) else compare


def _checked(name: str, compare: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A plugin's loss, whose errors and shapes are reported as the plugin's."""

    def call(image: Tensor) -> Tensor:
        try:
            values = compare(image)
        except LatentflowError:
            raise
        except Exception as error:
            raise InputError(f"The loss {name} of a plugin fails: {describe_error(error)}.") from error
        shape = tuple(getattr(values, "shape", ()))
        if shape != (len(image),):
            raise InputError(
                f"The loss {name} of a plugin returns the shape {shape}, not one value an image: {(len(image),)}."
            )
        return values

    return call
