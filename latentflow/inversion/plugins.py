"""Losses from a user's own file."""

import importlib.util
import sys
import traceback
from pathlib import Path

from latentflow import losses
from latentflow.errors import InputError

PREFIX = "latentflow_plugin_"


def load_plugin(path: Path) -> list[str]:
    """Run a Python file that registers losses, once; gives their names.

    Raises `InputError` naming file and line when it can't be read, raises, or registers nothing.
    """
    name = PREFIX + path.stem
    resolved = path.expanduser().resolve()
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(resolved):
        return list(known.__latentflow_losses__)  # type: ignore[attr-defined]
    if not resolved.is_file():
        raise InputError(f"--plugin {path}: there is no such file.")
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise InputError(f"--plugin {path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    before = set(losses.names())
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        reason = where(error)
        del sys.modules[name]
        raise InputError(f"--plugin {path} can't be used: {reason}.") from error
    added = sorted(set(losses.names()) - before)
    if not added:
        del sys.modules[name]
        raise InputError(f"--plugin {path} registers no loss.", 'It should hold a class under @register("name").')
    module.__latentflow_losses__ = added  # type: ignore[attr-defined]
    return added


def is_plugin(cls: type) -> bool:
    """Whether a loss's class comes from outside this project."""
    return not cls.__module__.startswith(f"{losses.__name__}.")


def where(error: BaseException) -> str:
    """What was raised, and in which file and line: the plugin's own line, where the error passed through one."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    plugins = {getattr(module, "__file__", None) for name, module in sys.modules.items() if name.startswith(PREFIX)}
    own = [frame for frame in frames if frame.filename in plugins] or frames[-1:]
    message = (str(error).splitlines() or [""])[0].rstrip(".")
    place = f"{own[-1].filename}, line {own[-1].lineno}: " if own else ""
    return f"{place}{type(error).__name__}: {message}"
