"""Losses, one a file: `ls losses/` is the list of what `loss_type` takes.

`find("l1")()(image, target)` takes two images (n, 3, h, w) in [0, 1] and returns one value an image, (n,). To add a
loss, subclass `Loss` and `register` it: in a file of this folder, or in a file of your own (see `plugin`).
"""

from typing import TYPE_CHECKING, Any

from latentflow.losses._registry import Declaration as Declaration
from latentflow.losses._registry import find as find
from latentflow.losses._registry import is_known as is_known
from latentflow.losses._registry import names as names
from latentflow.losses._registry import register as register

if TYPE_CHECKING:
    from latentflow.losses._base import Load as Load
    from latentflow.losses._base import Loss as Loss
    from latentflow.losses._base import composed as composed
    from latentflow.losses._base import share_of as share_of
    from latentflow.losses._features import Features as Features

__all__ = [
    "Declaration",
    "Features",
    "Load",
    "Loss",
    "composed",
    "find",
    "is_known",
    "names",
    "register",
    "share_of",
]


def __getattr__(name: str) -> Any:
    if name in ("Load", "Loss", "composed", "share_of"):  # on first use, since they need torch
        from latentflow.losses import _base

        return getattr(_base, name)
    if name == "Features":
        from latentflow.losses._features import Features

        return Features
    raise AttributeError(f"module 'latentflow.losses' has no attribute {name!r}")
