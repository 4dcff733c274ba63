"""Losses from a Python file of the user."""

import importlib.util
import sys
import traceback
from pathlib import Path

from latentflow import losses
from latentflow.base.errors import InputError

PREFIX = "latentflow_plugin_"


def load_plugin(path: Path) -> list[str]:
    """Run a Python file that registers losses and return their names; a file that was run before isn't run again.

    The file imports `from latentflow.losses import Loss, register`. Raises `InputError` with file and line when it
    can't be read, raises an error or registers nothing.
    """
    name = PREFIX + path.stem
    resolved = path.expanduser().resolve()
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(resolved):
        return list(known.__latentflow_losses__)  # type: ignore[attr-defined]
    if not resolved.is_file():
        raise InputError(f"`plugin` {path}: the file does not exist.")
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise InputError(f"`plugin` {path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    before = set(losses.names())
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        reason = describe_error(error)
        del sys.modules[name]
        raise InputError(f"`plugin` {path} can't be used: {reason}.") from error
    added = sorted(set(losses.names()) - before)
    if not added:
        del sys.modules[name]
        raise InputError(f"`plugin` {path} registers no loss.", 'Put @register("name") above a subclass of Loss.')
    module.__latentflow_losses__ = added  # type: ignore[attr-defined]
    return added


def is_plugin(cls: type) -> bool:
    """Tell whether the class of a loss is defined outside of this package."""
    return not cls.__module__.startswith(f"{losses.__name__}.")


def describe_error(error: BaseException) -> str:
    """An error's type and message with its file and line: those of a plugin, if a plugin is in the traceback."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    plugins = {getattr(module, "__file__", None) for name, module in sys.modules.items() if name.startswith(PREFIX)}
    own = [frame for frame in frames if frame.filename in plugins] or frames[-1:]
    message = (str(error).splitlines() or [""])[0].rstrip(".")
    place = f"{own[-1].filename}, line {own[-1].lineno}: " if own else ""
    return f"{place}{type(error).__name__}: {message}"
