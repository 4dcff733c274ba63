"""Settings around a call change nothing in it: gradient modes, autocast, a default device or type, numpy.

Notebooks and pipelines wrap whole programs in `torch.no_grad()`, `torch.inference_mode()` or `torch.autocast()`, and
set a default device or type for all that follows. Every public function that computes is `undisturbed` by them.
Importing this costs no torch.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from types import GeneratorType
from typing import Any, ParamSpec, TypeVar, cast

from latentflow.base.options import check_kind, scalar

Given = ParamSpec("Given")
Made = TypeVar("Made")


def undisturbed(function: Callable[Given, Made]) -> Callable[Given, Made]:
    """The function under torch's own settings, each step of it if it is a generator.

    Its numbers may be numpy's, and are checked: one that its annotation doesn't allow raises `InputError`. Tensors made
    in inference mode are copied, since torch saves none of those for a backward pass.
    """

    @functools.wraps(function)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        with usual_settings():
            taken: Any = ([_usable(each) for each in args], {name: _usable(each) for name, each in kwargs.items()})
            _check_arguments(function, *taken)
            made: Any = function(*taken[0], **taken[1])
        steps: Any = _Undisturbed(made) if isinstance(made, GeneratorType) else made
        return cast(Made, steps)

    return call


@contextlib.contextmanager
def usual_settings() -> Iterator[None]:
    """Gradients on, inference mode and autocast off, tensors on the CPU unless something else is asked for, and no
    errors from numpy for what becomes infinite or zero.

    All of these are settings of a thread, so other threads see nothing of it. What isn't imported has none.
    """
    with contextlib.ExitStack() as stack:
        if "numpy" in sys.modules:
            _usual_numpy(stack)
        if "torch" in sys.modules:
            _usual_torch(stack)
        yield


def _usual_numpy(stack: contextlib.ExitStack) -> None:
    import numpy

    if "raise" in numpy.geterr().values():
        stack.enter_context(numpy.errstate(all="warn", under="ignore"))


def _usual_torch(stack: contextlib.ExitStack) -> None:
    import torch  # another thread may be about to

    stack.enter_context(torch.inference_mode(False))
    stack.enter_context(torch.enable_grad())
    for device in ("cpu", "cuda", "mps", "xpu"):
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            stack.enter_context(torch.autocast(device, enabled=False))
    if torch.get_default_device().type != "cpu":
        stack.enter_context(torch.device("cpu"))


_LOADING = threading.Lock()
_loading: list[Any] = []  # one entry per load in progress: the default type before the first of them


@contextlib.contextmanager
def single_precision() -> Iterator[None]:
    """A default type of float32, in which other packages build their networks.

    The default is the process's, not the thread's: so this is for loading alone, and everything else names its types.
    """
    import torch

    with _LOADING:
        _loading.append(_loading[0] if _loading else torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        with _LOADING:
            before = _loading.pop()
            if not _loading:
                torch.set_default_dtype(before)


def _usable(value: Any) -> Any:
    """An argument as a Python value, and as a tensor that takes part in a backward pass."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor) and value.is_inference():
        return value.clone()
    return scalar(value)


@functools.cache
def _numbers(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    """A function's signature, and the kinds of those of its arguments that are numbers."""
    signature = inspect.signature(function)
    kinds = [kind for number in (int, float) for kind in (number, number | None)]
    names = {"int": int, "float": float} | {str(kind): kind for kind in kinds}  # annotations may be text
    found = {name: names.get(str(each.annotation)) for name, each in signature.parameters.items()}
    return signature, {name: kind for name, kind in found.items() if kind is not None}


def _check_arguments(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> None:
    signature, kinds = _numbers(function)
    given = signature.bind(*args, **kwargs).arguments
    for name, kind in kinds.items():
        if name in given:
            check_kind(name, given[name], kind)


class _Undisturbed(Iterator[Any]):
    """A wrapper of a generator that keeps each step undisturbed. It isn't a generator itself: `with` in a generator
    holds between its steps too, in whatever the caller does there."""

    def __init__(self, steps: Any) -> None:
        self.steps = steps

    def __next__(self) -> Any:
        with usual_settings():
            return next(self.steps)

    def close(self) -> None:
        """End the generator."""
        self.steps.close()
