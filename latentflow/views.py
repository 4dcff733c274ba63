"""Views of a latent space: every command of a view as a function, and the parts that views are made of.

A function does what the command of its name does. Type checkers read `views.pyi`, which docs/generate.py writes.
"""

from typing import Any

from latentflow import explore
from latentflow.explore.calls import view_function
from latentflow.explore.views import VIEWS

__all__ = [*VIEWS, *explore.__all__]


def __getattr__(name: str) -> Any:
    if name in VIEWS:  # also one that an installed package brings
        return globals().setdefault(name, view_function(VIEWS[name]))
    if name not in explore.__all__:
        raise AttributeError(f"module 'latentflow.views' has no attribute {name!r}")
    return getattr(explore, name)


def __dir__() -> list[str]:
    return sorted(__all__)
