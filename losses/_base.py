"""The base class of losses."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.losses._registry import Declaration, exact

Load = Callable[[str], Any]


class Summand:
    """A term of weighted sums such as `LPIPS() + 0.1 * SSIM()`. A function of (image, target) can be added too.

    `terms` are the losses of a sum with their weights. Raises `InputError` for a weight that is negative or not finite,
    and for anything but a loss.
    """

    __array_ufunc__ = None  # numpy's numbers leave `weight * loss` to `__rmul__`

    @property
    def terms(self) -> tuple[tuple[float, Any], ...]:
        """Weights and losses."""
        return ((1.0, self),)

    def __add__(self, other: Any) -> WeightedSum:
        return WeightedSum((*self.terms, *terms_of(other)))

    def __radd__(self, other: Any) -> WeightedSum:
        begins = isinstance(other, int) and other == 0  # as sum() does
        return WeightedSum(self.terms if begins else (*terms_of(other), *self.terms))

    def __mul__(self, weight: float) -> WeightedSum:
        if not isinstance(weight, Real) or isinstance(weight, bool):
            raise InputError(f"The weight of a loss is a number, not {weight!r}.")
        if not 0 <= weight < math.inf:
            raise InputError(f"The weight of a loss is 0 or more and finite, not {weight}.", "Losses are minimized.")
        return WeightedSum(tuple((float(weight) * each, loss) for each, loss in self.terms))

    __rmul__ = __mul__


class WeightedSum(Summand):
    """A weighted sum of losses, as `+` and `*` of losses make it; the same as the text "lpips + 0.1*ssim"."""

    def __init__(self, terms: tuple[tuple[float, Any], ...]) -> None:
        self._terms = terms

    @property
    def terms(self) -> tuple[tuple[float, Any], ...]:
        """Weights and losses."""
        return self._terms

    @property
    def label(self) -> str:
        """The sum as text."""
        return sum_label((weight, label_of(loss)) for weight, loss in self.terms)

    def __call__(self, image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """The weighted sum of images (n, 3, h, w) in [0, 1] against targets of the same shape, (n,); raises
        `InputError` as its losses do."""
        more = () if mask is None else (mask,)
        values = (weight * loss(image, target, *more) for weight, loss in self.terms)
        return sum(values, start=image.new_zeros(len(image)))

    def __repr__(self) -> str:
        return self.label


class _Networks(dict[str, Any]):
    """Networks by name; one that isn't there is an `InputError`."""

    def __missing__(self, name: str) -> Any:
        raise InputError(
            f"The loss has no network {name}: it was made without `load`.",
            "Hand it to invert() or Objective(), or make it with load=latentflow.Networks().",
        )


class Loss(Summand):
    """A difference between images: subclass it, write `forward`, and `@register` it under a name.

    A loss that takes a mask says how in its declaration (`mask=`), and its `forward` has a third parameter for it.

    `load(name)` returns the pretrained network `name` as `Features`; a loss that declares `weights` has them in
    `networks`. Without `load` it gets the networks of the function that it is handed to, such as `invert`. `options`
    are numbers by the names that are declared; raises `InputError` for others.
    """

    declaration: ClassVar[Declaration]

    def __init__(self, load: Load | None = None, **options: float) -> None:
        name, known = self.declaration.name, self.declaration.options
        if unknown := sorted(set(options) - set(known)):
            raise InputError(f"{name} has no option {unknown[0]!r}; its options: {', '.join(known) or 'none'}.")
        for key, value in options.items():
            if not isinstance(value, Real) or isinstance(value, bool):
                raise InputError(f"The option {key} of {name} is a number, not {value!r}.")
        self.options = {**known, **options}
        given = ",".join(f"{key}={exact(value)}" for key, value in options.items())
        self.label = f"{name}({given})" if given else name
        self.networks = _Networks()
        if load is not None:
            self._connect(load)

    def _connect(self, load: Load) -> None:
        """Take the networks that are declared, and the label of the last."""
        for name in self.declaration.weights:
            self.networks[name] = load(name)
            self.label = self.networks[name].label

    def connected(self, load: Load) -> Loss:
        """A copy with its networks, those of `load` where it was made without; the loss itself stays as it is."""
        twin = copy.copy(self)
        if self.declaration.weights and not getattr(self, "networks", None):
            twin.networks = _Networks()
            twin._connect(load)
        return twin

    def __repr__(self) -> str:
        return self.label

    def prepare(self, target: Tensor) -> Any:
        """Compute what `forward` needs of the target, once per run; `target` is (n, 3, h, w) in the declared range."""
        return target

    def forward(self, image: Tensor, prepared: Any) -> Tensor:
        """One value an image, (n,); `image` is (n, 3, h, w) in the declared range, unclamped.

        A loss that declares `mask` has a third parameter, `mask: Tensor | None = None`: weights (n, 1, h, w) in [0, 1].
        Where they are 0, `image` equals the target. A mean over pixels or positions is `weighted_mean(values, mask)`,
        so that a mask of one gray, whichever, changes nothing.
        """
        raise NotImplementedError

    def bind(self, target: Tensor, mask: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        """The loss as a function of the image alone; `target` and its images are (n, 3, h, w) in [0, 1].

        A `mask` (n, 1, h, w) in [0, 1] holds the weights of pixels; `declaration.mask` says how they are weighted.

        Raises `InputError` for a target of a different shape or smaller than `min_size`, for a mask of a different
        shape or zero everywhere, for any mask if the loss declares none, and when an image's shape is not the target's.
        """
        _check_images("target", target)
        height, width = target.shape[-2:]
        smallest = self.declaration.min_size
        if min(height, width) < smallest:
            # The sides are rounded, so the shorter one may be half a pixel less in truth.
            enough = math.ceil(smallest * max(height, width) / (min(height, width) - 0.5))
            raise InputError(
                f"{self.declaration.name} needs images of at least {smallest} × {smallest} pixels; this one has "
                f"{width} × {height}.",
                f"Set `size` to {enough} or more, or use another loss.",
            )
        if mask is not None:
            self._check_mask(mask, target)
        shape = target.shape
        low, high = self.declaration.input_range
        prepared = self.prepare(target * (high - low) + low)

        def compare(image: Tensor) -> Tensor:
            _check_images("image", image)
            if image.shape != shape:
                raise InputError(f"`image` has the shape {tuple(image.shape)}, but `target` has {tuple(shape)}.")
            if mask is None:
                return self.forward(image * (high - low) + low, prepared)
            inside = composed(image, target, mask) * (high - low) + low
            return self.forward(inside, prepared, mask)  # type: ignore[call-arg]

        if mask is not None:
            with torch.no_grad():
                compare(target)  # a loss may refuse a mask: now, not at the first step
        return compare

    def _check_mask(self, mask: Tensor, target: Tensor) -> None:
        check_mask(mask, target)
        if not self.declaration.mask:
            able = [name for name in ("mse", "lpips", "ssim") if name != self.declaration.name]
            raise InputError(
                f"The loss {self.declaration.name} takes no `mask`: it doesn't say what one would weigh.",
                f'Declare it with @register(…, mask="…"), or use another loss, such as {" or ".join(able)}.',
            )

    def __call__(self, image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of images (n, 3, h, w) in [0, 1] against targets of the same shape: one value an image, (n,).

        Raises `InputError` as `bind` does.
        """
        return self.bind(target, mask)(image)


def composed(image: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Images where their `mask` is above 0, however little, the target where it is 0; without a mask the images.

    Grays don't mix the two: a mixture is nearer to the target than its image, and the comparison would look better than
    it is. How much a gray pixel counts is a matter of the mean that is taken.
    """
    return image if mask is None else target + (mask > 0).to(image.dtype) * (image - target)


def weighted_mean(values: Tensor, mask: Tensor | None = None, dims: tuple[int, ...] = (1, 2, 3)) -> Tensor:
    """The mean of values (n, c, h, w) over `dims`, by default of each image, (n,): Σ m·x / Σ m with a `mask` m
    (n, 1, h, w), which weighs all channels alike; 0 where no value counts."""
    if mask is None:
        return values.mean(dim=dims)
    share = mask.mean(dim=dims)
    return (values * mask).mean(dim=dims) / torch.where(share > 0, share, torch.ones_like(share))


def check_mask(mask: Tensor, target: Tensor) -> None:
    """Raise `InputError` for a mask (n, 1, h, w) that doesn't fit its target, is zero everywhere or leaves [0, 1]."""
    if mask.shape != (len(target), 1, *target.shape[-2:]):
        raise InputError(f"`mask` has the shape {tuple(mask.shape)}, but `target` has {tuple(target.shape)}.")
    if not bool((mask.amax(dim=(1, 2, 3)) > 0).all()):
        raise InputError("`mask` is black everywhere: no pixel would count.", "White marks what counts.")
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise InputError("`mask` has values outside of [0, 1].")


def _check_images(name: str, images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"`{name}` must have the shape (n, 3, height, width), not {tuple(images.shape)}.")


def terms_of(loss: Any) -> tuple[tuple[float, Any], ...]:
    """The weights and losses of a sum, of one loss, or of a function of (image, target); raises `InputError` for
    anything else."""
    if isinstance(loss, Summand):
        return loss.terms
    if not callable(loss) or isinstance(loss, type):
        raise InputError(f"A loss adds to a loss or a function of (image, target), not to {loss!r}.")
    return ((1.0, loss),)


def label_of(loss: Any) -> str:
    """The label of a loss, or the name of a function or module."""
    if hasattr(loss, "bind"):
        return str(loss.label)
    name = str(getattr(loss, "__name__", type(loss).__name__))
    return name if name.isidentifier() else "loss"  # <lambda>


def sum_label(terms: Iterable[tuple[float, str]]) -> str:
    """A weighted sum of labels as text."""
    return " + ".join(label if weight == 1 else f"{exact(weight)}*{label}" for weight, label in terms)
