"""The base class of losses."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from latentflow.errors import InputError
from latentflow.losses._registry import Declaration

Load = Callable[[str], Any]


class Loss:
    """A difference between images: subclass it, write `forward`, and `@register` it under a name.

    `load(name)` returns the pretrained network `name` as `Features`; a loss that declares `weights` needs it, and
    raises RuntimeError without it. `options` are numbers by the names that are declared; raises ValueError for others.
    """

    declaration: ClassVar[Declaration]

    def __init__(self, load: Load | None = None, **options: float) -> None:
        unknown = set(options) - set(self.declaration.options)
        if unknown:
            known = ", ".join(self.declaration.options) or "none"
            raise ValueError(f"it has no option {sorted(unknown)[0]!r}; its options: {known}")
        self.options = {**self.declaration.options, **options}
        given = ",".join(f"{key}={value:g}" for key, value in options.items())
        self.label = f"{self.declaration.name}({given})" if given else self.declaration.name

    def prepare(self, target: Tensor) -> Any:
        """What `forward` needs of the target, computed once a run; `target` is (n, 3, h, w) in the declared range."""
        return target

    def forward(self, image: Tensor, prepared: Any) -> Tensor:
        """One value an image, (n,); `image` is (n, 3, h, w) in the declared range, unclamped."""
        raise NotImplementedError

    def per_region(self, value: Tensor, at_target: Tensor, share: Tensor) -> Tensor:
        """The loss within a mask, (n,): `value` is that of images which equal their targets outside the mask,
        `at_target` that of the targets themselves, `share` the part of all windows of `min_size` pixels that see the
        mask. Of a mean over windows, or over pixels, this is the mean over those."""
        return (value - (1 - share) * at_target) / share

    def bind(self, target: Tensor, mask: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        """The loss as a function of the image alone; `target` and its images are (n, 3, h, w) in [0, 1].

        With a `mask` (n, 1, h, w) in [0, 1] only what is near 1 in it counts: images are composed over the target by
        it before they are compared, and `per_region` takes the rest out of the value.

        Raises `InputError` for a target of another shape or smaller than `min_size`, for a mask of another shape or
        zero everywhere, and when an image's shape is not the target's.
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
        shape = target.shape
        low, high = self.declaration.input_range
        prepared = self.prepare(target * (high - low) + low)

        def compare(image: Tensor) -> Tensor:
            _check_images("image", image)
            if image.shape != shape:
                raise InputError(f"`image` has the shape {tuple(image.shape)}, but `target` has {tuple(shape)}.")
            return self.forward(image * (high - low) + low, prepared)

        if mask is None:
            return compare
        share = share_of(mask, target, smallest)
        with torch.no_grad():
            at_target = compare(target)
        return lambda image: self.per_region(compare(composed(image, target, mask)), at_target, share)

    def __call__(self, image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of images (n, 3, h, w) in [0, 1] against targets of the same shape: one value an image, (n,).

        Raises `InputError` as `bind` does.
        """
        return self.bind(target, mask)(image)


def composed(image: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Images where their `mask` is 1, the target where it is 0, a mixture between; without a mask the images."""
    return image if mask is None else target + mask * (image - target)


def share_of(mask: Tensor, target: Tensor, window: int = 1) -> Tensor:
    """The part of all windows of `window` × `window` pixels that see a mask, (n,); a pixel counts as white as it is.

    Raises `InputError` for a mask (n, 1, h, w) that doesn't fit its target or is zero everywhere.
    """
    if mask.shape != (len(target), 1, *target.shape[-2:]):
        raise InputError(f"`mask` has the shape {tuple(mask.shape)}, but `target` has {tuple(target.shape)}.")
    share = max_pool2d(max_pool2d(mask, (window, 1), stride=1), (1, window), stride=1).mean(dim=(1, 2, 3))
    if not bool((share > 0).all()):
        raise InputError("`mask` is black everywhere: no pixel would count.", "White marks what counts.")
    return share


def _check_images(name: str, images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"`{name}` must have the shape (n, 3, height, width), not {tuple(images.shape)}.")
