"""Losses, one a file: `ls losses/` is the list of `--loss_type`.

`find("l1")()(image, target)` takes two (n, 3, h, w) in [0, 1] and gives one value an image, (n,).
"""

from typing import Any

from latentflow.losses._registry import Declaration, find, names, register

__all__ = ["Declaration", "Loss", "find", "names", "register"]


def __getattr__(name: str) -> Any:
    if name == "Loss":  # on first use, since it needs torch
        from latentflow.losses._base import Loss

        return Loss
    raise AttributeError(f"module 'latentflow.losses' has no attribute {name!r}")
