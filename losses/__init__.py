"""Losses, one a file: `ls losses/` is the list of what `loss_type` takes.

`find("l1")()(image, target)` takes two images (n, 3, h, w) in [0, 1] and returns one value an image, (n,). To add a
loss, subclass `Loss` and `register` it: in a file of this folder, or in a file of your own (see `plugin`).
"""

from typing import TYPE_CHECKING, Any

from latentflow.losses._registry import LOSSES as LOSSES
from latentflow.losses._registry import Declaration as Declaration
from latentflow.losses._registry import built_in as built_in
from latentflow.losses._registry import exact as exact
from latentflow.losses._registry import find as find
from latentflow.losses._registry import is_known as is_known
from latentflow.losses._registry import names as names
from latentflow.losses._registry import register as register

if TYPE_CHECKING:
    from latentflow.losses._base import Load as Load
    from latentflow.losses._base import Loss as Loss
    from latentflow.losses._base import WeightedSum as WeightedSum
    from latentflow.losses._base import check_mask as check_mask
    from latentflow.losses._base import composed as composed
    from latentflow.losses._base import label_of as label_of
    from latentflow.losses._base import sum_label as sum_label
    from latentflow.losses._base import terms_of as terms_of
    from latentflow.losses._base import weighted_mean as weighted_mean
    from latentflow.losses._features import Features as Features

__all__ = [
    "LOSSES",
    "Declaration",
    "Features",
    "Load",
    "Loss",
    "WeightedSum",
    "built_in",
    "check_mask",
    "composed",
    "exact",
    "find",
    "is_known",
    "label_of",
    "names",
    "register",
    "sum_label",
    "terms_of",
    "weighted_mean",
]


def __getattr__(name: str) -> "type[Loss]":
    """Import the names that need torch on first use: the parts of losses, and the built-in classes such as LPIPS."""
    found: Any = None
    if name in __all__:
        from latentflow.losses import _base, _features

        found = getattr(_base, name, None) or getattr(_features, name)
    elif name[:1].isupper():
        found = next((cls for cls in built_in() if cls.__name__ == name), None)
    if found is None:
        raise AttributeError(f"module 'latentflow.losses' has no attribute {name!r}")
    return found  # type: ignore[no-any-return]
