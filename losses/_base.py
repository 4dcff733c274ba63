"""The base class of losses."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

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

    def bind(self, target: Tensor) -> Callable[[Tensor], Tensor]:
        """The loss as a function of the image alone; `target` and its images are (n, 3, h, w) in [0, 1].

        Raises `InputError` for a target of another shape or smaller than `min_size`, and when an image's shape is not
        the target's.
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

        return compare

    def __call__(self, image: Tensor, target: Tensor) -> Tensor:
        """The loss of images (n, 3, h, w) in [0, 1] against targets of the same shape: one value an image, (n,).

        Raises `InputError` as `bind` does.
        """
        return self.bind(target)(image)


def _check_images(name: str, images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"`{name}` must have the shape (n, 3, height, width), not {tuple(images.shape)}.")
