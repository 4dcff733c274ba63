"""The shape of a loss."""

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from latentflow.losses._registry import Declaration

Load = Callable[[str], Any]


class Loss:
    """A difference between pictures: subclass it, write `forward`, and `@register` it under a name.

    `load(name)` gives the pretrained network `name`; a loss that declares `weights` is made with it and raises
    RuntimeError without it. `options` are those that are declared; raises ValueError for others.
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
        """What `forward` wants to know of the target, computed once a run; `target` is in the declared range."""
        return target

    def forward(self, image: Tensor, prepared: Any) -> Tensor:
        """One value an image, (n,); `image` is (n, 3, h, w) in the declared range, unclamped."""
        raise NotImplementedError

    def bind(self, target: Tensor) -> Callable[[Tensor], Tensor]:
        """The loss as a function of the picture alone; `target` and its pictures are (n, 3, h, w) in [0, 1]."""
        low, high = self.declaration.input_range
        prepared = self.prepare(target * (high - low) + low)
        return lambda image: self.forward(image * (high - low) + low, prepared)

    def __call__(self, image: Tensor, target: Tensor) -> Tensor:
        """The loss of (n, 3, h, w) against (n, 3, h, w), both in [0, 1]: one value an image, (n,)."""
        return self.bind(target)(image)
