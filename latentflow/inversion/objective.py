"""Weighted sums of losses against a target, such as "l1 + 0.1*ssim" or "sinkhorn(blur=0.1)"."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latentflow import losses
from latentflow.base.errors import InputError, LatentflowError, MissingPackageError
from latentflow.base.options import did_you_mean
from latentflow.base.surroundings import undisturbed
from latentflow.inversion.plugins import describe_error, is_plugin

if TYPE_CHECKING:
    from torch import Tensor

    from latentflow.losses import Load, Loss

AnyLoss = str | Callable[["Tensor", "Tensor"], "Tensor"]  # losses and sums of them can be called, too
NO_WEIGHT = "Nothing would move: at least one weight must be above 0."
TOO_SMALL = "Losses are minimized; a weight is 0 or more."
FORM = 'Write it as in "l1 + 0.1*ssim" or "sinkhorn(blur=0.1)".'


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One loss of a weighted sum: its weight, its name, its options, and where its name begins in the text."""

    weight: float
    name: str
    options: dict[str, float] = field(default_factory=dict)
    position: int = 0


class _Mistake(Exception):
    """A mistake at a position of a text, and its remedy."""

    def __init__(self, position: int, what: str, remedy: str = "") -> None:
        self.position, self.what, self.remedy = position, what, remedy

    def of(self, text: str, option: str = "loss_type") -> InputError:
        """As an error that names the text and the option it is of."""
        return InputError(f"`{option}` {text!r}, character {self.position + 1}: {self.what}.", self.remedy)


def parse(text: str, option: str = "loss_type") -> list[Term]:
    """The terms of a weighted sum of losses; raises `InputError` that names the `option` that the text is of and the
    character where it is wrong."""
    try:
        terms = _terms(text, _tree(text))
        for index, term in enumerate(terms):
            if term.name in (known.name for known in terms[:index]):
                raise _Mistake(term.position, f"{term.name} is named twice")
        if not any(term.weight for term in terms):
            raise _Mistake(0, f"the weight of {' and of '.join(each.name for each in terms)} is 0", NO_WEIGHT)
    except _Mistake as mistake:
        raise mistake.of(text, option) from None
    return terms


def same_sum(one: str, two: str) -> bool:
    """Tell whether two texts are the same weighted sum: equal losses, weights and options, however they are written."""
    sums = [
        sorted((term.name, term.weight, sorted(term.options.items())) for term in parse(text)) for text in (one, two)
    ]
    return sums[0] == sums[1]


def _tree(text: str) -> ast.expr:
    """A text as an expression of Python; nothing is evaluated."""
    if not text.strip():
        raise _Mistake(0, "expected a loss", FORM)
    if "#" in text:  # which would begin a comment
        raise _Mistake(text.index("#"), "expected + and another loss", FORM)
    blanks = len(text) - len(text.lstrip())  # which would be an indent
    spaced = "".join(" " if each.isspace() else each for each in text)
    try:
        tree = ast.parse(spaced[blanks:], mode="eval").body
        for node in ast.walk(tree):
            if hasattr(node, "col_offset"):  # of bytes in UTF-8
                node.col_offset = blanks + len(spaced[blanks:].encode()[: node.col_offset].decode())
        return tree
    except SyntaxError as error:
        place = blanks + (error.offset or len(text) - blanks + 1) - 1
        raise _Mistake(place, f"this is no sum of losses ({error.msg})", FORM) from None
    except (ValueError, RecursionError, MemoryError):  # zero bytes, or too long
        raise _Mistake(0, "this is no sum of losses", FORM) from None


def _terms(text: str, node: ast.expr) -> list[Term]:
    """The terms of a sum."""
    if not isinstance(node, ast.BinOp) or isinstance(node.op, ast.Mult):
        return [_term(node)]
    if not isinstance(node.op, ast.Add):
        raise _Mistake(node.right.col_offset, "losses are only added", FORM)
    return [*_terms(text, node.left), *_terms(text, node.right)]


def _term(node: ast.expr) -> Term:
    """One loss, with or without a weight."""
    weight = 1.0
    if isinstance(node, ast.BinOp):
        weight = _number(node.left, "expected a weight before *")
        if weight < 0:
            raise _Mistake(node.left.col_offset, f"the weight {ast.unparse(node.left)} is below 0", TOO_SMALL)
        node = node.right
    name, keywords = (node.func, node.keywords) if isinstance(node, ast.Call) else (node, [])
    if not isinstance(name, ast.Name):
        raise _Mistake(node.col_offset, "expected a loss, or a weight, * and a loss", FORM)
    if not losses.is_known(name.id):
        remedy = did_you_mean(name.id, losses.names()) or f"The losses are {', '.join(losses.names())}."
        raise _Mistake(name.col_offset, f"there is no loss named {name.id!r}", remedy)
    if isinstance(node, ast.Call) and node.args:
        raise _Mistake(node.args[0].col_offset, "expected an option, = and a number", FORM)
    options: dict[str, float] = {}
    for each in keywords:
        if each.arg is None or each.arg in options:
            raise _Mistake(each.col_offset, f"{each.arg} is named twice" if each.arg else "expected an option", FORM)
        options[each.arg] = _number(each.value, f"expected a number after {each.arg}=")
    return Term(weight=weight, name=name.id, options=options, position=name.col_offset)


def _number(node: ast.expr, wanted: str) -> float:
    """The number that stands at a place."""
    sign, value = 1, node
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        sign, value = (-1 if isinstance(node.op, ast.USub) else 1), node.operand
    if not isinstance(value, ast.Constant) or type(value.value) not in (int, float):
        raise _Mistake(node.col_offset, wanted, FORM)
    try:
        number = float(value.value)  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise _Mistake(node.col_offset, "this number is too large")
    return sign * number


class Objective:
    """A weighted sum of losses against one target (n, 3, h, w) in [0, 1]. A `mask` (n, 1, h, w) in [0, 1] holds the
    weights of its pixels; each loss declares what they weigh in it.

    `loss` is the sum as text, or as an object such as `LPIPS() + 0.1 * SSIM()` of `latentflow.losses`, or a function or
    module of your own: (image, target) → (n,), or one number where there is one image. It takes no mask.

    `load(name)` returns the network of a perceptual loss, as `latentflow.models.networks.Networks` does. Without it a
    network that is in the cache is used, else the bundled encoder, which the label shows, as in "lpips[bundled]";
    nothing is downloaded.

    Raises `InputError` for a text that is not a sum of losses, for options that a loss refuses, for a target of a
    different shape or smaller than a loss needs, and for a mask that doesn't fit it, is black everywhere or that a loss
    doesn't take; `MissingPackageError` for a missing package.
    """

    @undisturbed
    def __init__(self, loss: AnyLoss, target: Tensor, load: Load | None = None, mask: Tensor | None = None) -> None:
        self.target, self.mask = target, mask
        self.terms: list[tuple[float, str, Callable[[Tensor], Tensor]]] = []
        for weight, each in _made(loss, load or _default_load(target)):
            label, compare = _bind(each, target, mask)
            if label in (known for _, known, _ in self.terms):
                raise InputError(
                    f"`loss_type` {str(loss)!r}: two losses have the label {label}.", "Give one of them another label."
                )
            self.terms.append((weight, label, compare))

    @property
    def label(self) -> str:
        """The sum as text, with the labels of networks that stand in for others."""
        return losses.sum_label((weight, label) for weight, label, _ in self.terms)

    def composed(self, image: Tensor) -> Tensor:
        """The image where the mask isn't 0, the target where it is; without a mask the image."""
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


def check_loss(loss: Any) -> None:
    """Raise `InputError` unless a loss is text, a sum with a weight above 0, or can be called."""
    if isinstance(loss, str):
        return
    if not callable(loss) or isinstance(loss, type):
        raise InputError(
            f"`loss` is the name of a loss, a weighted sum or a function of (image, target), not {loss!r}.",
            f"The losses are {', '.join(losses.names())}.",
        )
    if not any(weight for weight, _ in losses.terms_of(loss)):
        raise InputError(f"`loss` {loss}: every weight is 0.", NO_WEIGHT)


def networks_of(loss: AnyLoss) -> list[str]:
    """The names of the networks that a loss declares."""
    kinds: list[Any] = (
        [losses.find(term.name) for term in parse(loss)]
        if isinstance(loss, str)
        else [each for _, each in losses.terms_of(loss) if hasattr(each, "declaration")]
    )
    return [name for kind in kinds for name in kind.declaration.weights]


def _made(loss: AnyLoss, load: Load) -> list[tuple[float, Any]]:
    """The weights and losses of a sum, each loss with its networks."""
    if isinstance(loss, str):
        return [(term.weight, _make(loss, term, load)) for term in parse(loss)]
    check_loss(loss)
    return [
        (weight, each.connected(load) if isinstance(each, losses.Loss) else each)
        for weight, each in losses.terms_of(loss)
    ]


def _make(text: str, term: Term, load: Load) -> Loss:
    """The loss of a term; errors of a plugin name its file and line."""
    cls: type[Loss] | None = None
    try:
        cls = losses.find(term.name)
        return cls(load, **term.options)
    except (InputError, ValueError) as error:
        raise _Mistake(term.position, str(error).rstrip(".")).of(text) from error
    except LatentflowError:
        raise
    except ImportError as error:
        raise MissingPackageError(
            f"The loss {term.name} needs a package: {error}.", f"pip install {error.name}"
        ) from error
    except Exception as error:
        if cls is None or not is_plugin(cls):
            raise
        raise InputError(f"The loss {term.name} of a plugin fails: {describe_error(error)}.") from error


def _bind(loss: Any, target: Tensor, mask: Tensor | None) -> tuple[str, Callable[[Tensor], Tensor]]:
    """The label of a loss, and the loss as a function of the image; raises `InputError` for a mask that it doesn't
    take."""
    if not hasattr(loss, "bind"):
        return _bind_own(loss, target, mask)
    try:
        compare = loss.bind(target, mask)
    except LatentflowError:
        raise
    except Exception as error:
        if not is_plugin(type(loss)):
            raise
        raise InputError(f"The loss {loss.label} of a plugin fails: {describe_error(error)}.") from error
    return loss.label, _checked(f"{loss.label} of a plugin", compare) if is_plugin(type(loss)) else compare


def _bind_own(
    loss: Callable[[Tensor, Tensor], Tensor], target: Tensor, mask: Tensor | None
) -> tuple[str, Callable[[Tensor], Tensor]]:
    """The name of a function or module, and what it computes as a function of the image."""
    name = losses.label_of(loss)
    if mask is not None:
        raise InputError(
            f"`mask` has no effect on the loss {name}, which is a function of your own.", "Weight the pixels in it."
        )

    def compare(image: Tensor) -> Tensor:
        value = loss(image, target)
        return value.reshape(1) if len(image) == 1 and getattr(value, "shape", None) == () else value

    return name, _checked(name, compare)


def _checked(name: str, compare: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A loss from outside of this package. Its errors, shapes and lack of a gradient are reported as its own."""
    import torch

    def call(image: Tensor) -> Tensor:
        try:
            values = compare(image)
        except LatentflowError:
            raise
        except Exception as error:
            raise InputError(f"The loss {name} fails: {describe_error(error)}.") from error
        if not isinstance(values, torch.Tensor):
            raise InputError(f"The loss {name} returns a {type(values).__name__}, not a tensor.")
        if tuple(values.shape) != (len(image),):
            raise InputError(
                f"The loss {name} returns the shape {tuple(values.shape)}, not one value an image: {(len(image),)}."
            )
        if torch.is_grad_enabled() and image.requires_grad and not values.requires_grad:
            raise InputError(
                f"The loss {name} has no gradient.", "Compute it with torch, from the image, without detach or no_grad."
            )
        return values

    return call
