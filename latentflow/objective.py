"""Losses bound to a target: "l1 + 0.1*ssim"."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import losses
from latentflow.config import did_you_mean
from latentflow.errors import InputError, MissingPackageError

if TYPE_CHECKING:
    from torch import Tensor

_TERM = re.compile(r"\s*(?:(?P<weight>[0-9.][0-9.]*(?:[eE][+-]?[0-9]+)?)\s*\*\s*)?(?P<name>[A-Za-z_]\w*)\s*")


def parse(text: str) -> list[tuple[float, str]]:
    """The (weight, name) terms of a weighted sum; raises `InputError` that points at the character it stumbled on."""
    terms: list[tuple[float, str]] = []
    position = 0
    while True:
        match = _TERM.match(text, position)
        if not match:
            raise _wrong(text, position, "expected a loss, or a weight, * and a loss")
        try:
            weight = float(match["weight"] or 1)
        except ValueError:
            raise _wrong(text, match.start("weight"), "this is no number") from None
        name = match["name"]
        if name not in losses.names():
            remedy = did_you_mean(name, losses.names()) or f"The losses are {', '.join(losses.names())}."
            raise _wrong(text, match.start("name"), f"there is no loss named {name!r}", remedy)
        if name in (known for _, known in terms):
            raise _wrong(text, match.start("name"), f"{name} stands twice")
        terms.append((weight, name))
        position = match.end()
        if position == len(text):
            return terms
        if text[position] != "+":
            raise _wrong(text, position, "expected + and another loss")
        position += 1


def _wrong(text: str, position: int, what: str, remedy: str = "") -> InputError:
    while position < len(text) and text[position].isspace():
        position += 1
    return InputError(f"--loss_type {text!r}, character {position + 1}: {what}.", remedy)


class Objective:
    """A weighted sum of losses against one target (n, 3, h, w) in [0, 1].

    `load(name)` gives losses their networks (see `latentflow.perceptual.loader`). Raises `InputError` for a text that
    is no sum of losses and for a target smaller than a loss can see, `MissingPackageError` for a missing package.
    """

    def __init__(self, text: str, target: Tensor, load: Callable[[str], Any] | None = None) -> None:
        self.target = target
        self.terms: list[tuple[float, str, Callable[[Tensor], Tensor]]] = []
        for weight, name in parse(text):
            try:
                loss = losses.find(name)(load)
                smallest = loss.declaration.min_size
                if min(target.shape[-2:]) < smallest:
                    height, width = target.shape[-2:]
                    raise InputError(
                        f"{name} needs pictures of at least {smallest} × {smallest} pixels; this one is "
                        f"fitted to {width} × {height}.",
                        "Use --fit cover, or another loss.",
                    )
                self.terms.append((weight, loss.label, loss.bind(target)))
            except ImportError as error:
                raise MissingPackageError(
                    f"The loss {name} needs a package: {error}.", f"pip install {error.name}"
                ) from error

    @property
    def label(self) -> str:
        """The sum as it should be shown, stand-ins marked."""
        return " + ".join(label if weight == 1 else f"{weight:g}*{label}" for weight, label, _ in self.terms)

    def __call__(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum for each image of (n, 3, h, w), (n,), and the unweighted value of every term, (n,) each."""
        parts = {label: loss(image) for _, label, loss in self.terms}
        total = sum((weight * parts[label] for weight, label, _ in self.terms), start=image.new_zeros(len(image)))
        return total, {label: value.detach() for label, value in parts.items()}
