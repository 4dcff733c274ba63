"""Views as functions of Python: their options are those of the commands. Costs no torch.

A function of a view takes its options as `**options`, and its signature is made from the fields of the view's config,
so no list of options is kept a second time. docs/generate.py writes the same signatures for type checkers into
`latentflow/views.pyi` and `latentflow/explore/in_memory.pyi`.
"""

import functools
import inspect
import operator
import textwrap
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from latentflow.base.errors import InputError
from latentflow.base.options import Options, did_you_mean, members, options_that
from latentflow.explore.views import View

if TYPE_CHECKING:
    from latentflow.base.session import Session
    from latentflow.models.autoencoder import Autoencoder
    from latentflow.runs.job import Report

IN_MEMORY = {"walk": "latentflow.walk takes pictures and latents in memory."}
PATHS = ("FILE", "FOLDER", "PATH", "IMAGE")  # the metavars of options that name files
TIMES = ("audio", "midi", "seconds", "hold_anchors")  # options that are seconds, of which `fps` makes frames
Function = TypeVar("Function", bound=Callable[..., Any])


def file_options(config: type[Options]) -> set[str]:
    """The options of a config that are about its files alone."""
    return options_that(config, affects="files") | {"overwrite"}


def taking(config: type[Options], without: Collection[str] = ()) -> Callable[[Function], Function]:
    """Give a function with `**options` the signature that names the options of a config. The options in `without` and
    the function's own parameters are left out."""

    def decorate(function: Function) -> Function:
        own = inspect.signature(function)
        kept = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        named = {*without, *own.parameters}
        options = [parameter(each) for each in fields(config) if each.name not in named]
        function.__signature__ = own.replace(parameters=[*kept, *options])  # type: ignore[attr-defined]
        return function

    return decorate


def parameter(option: Any) -> inspect.Parameter:
    """An option as the parameter of a function: its choices are a `Literal`, several values are any sequence, and what
    names a file may be a path."""

    def shown(kind: Any) -> Any:
        if typing.get_origin(kind) is tuple:
            return Sequence[typing.get_args(kind)[0]]  # type: ignore[misc]
        if kind is str and option.metadata["metavar"] in PATHS:
            return str | PathLike[str]
        return Literal[tuple(option.metadata["choices"])] if kind is str and option.metadata["choices"] else kind

    annotation = functools.reduce(operator.or_, map(shown, members(option.type)))
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=annotation)


def check_names(options: Mapping[str, Any], config: type[Options], function: str) -> None:
    """Raise `InputError` for a name that is no option of a function."""
    known = {each.name for each in fields(config)} | {"vae", "session"}
    for name in options:
        if name not in known:
            raise InputError(f"{function} has no option `{name}`.", did_you_mean(name, known))


def check_in_memory(options: Mapping[str, Any], config: type[Options], function: str) -> None:
    """Raise `InputError` for a name that is no option of a function, and for options that have no effect where no file
    is written. `fps` has one where another option is in seconds."""
    check_names(options, config, function)
    timed = {"fps"} if any(options.get(name) for name in TIMES) else set()
    about_files = [name for name in options if name in file_options(config) - timed]
    if about_files:
        raise InputError(
            f"`{about_files[0]}` is about a file, and latentflow.{function} writes none.",
            f"latentflow.views.{function} writes files.",
        )


def view_function(view: View) -> Callable[..., "Report"]:
    """The function that does what the command of a view does."""

    def call(
        *sources: str | PathLike[str],
        vae: "str | PathLike[str] | Autoencoder | None" = None,
        session: "Session | None" = None,
        **options: Any,
    ) -> "Report":
        from latentflow.base.session import Session

        check_names(options, view.config, view.name)
        names = [_name(each, view.name) for each in sources]
        _check_count(view, names)
        if isinstance(vae, list | tuple) and not view.several:
            raise InputError(f"{view.name} takes one `vae`.")
        session = session or Session()
        return view.run(names, view.config(vae=session.name(vae), **options), session)

    if view.several:
        call.__annotations__["vae"] = f"Sequence[{call.__annotations__['vae']}] | {call.__annotations__['vae']}"
    call.__name__ = call.__qualname__ = view.name
    call.__module__ = "latentflow.views"
    call.__doc__ = _documentation(view)
    return taking(view.config)(call)


def _check_count(view: View, sources: Sequence[str]) -> None:
    """Raise `InputError` when there are fewer sources than a view takes, or more."""
    least = len(view.arguments) - view.many
    if len(sources) < least or (len(sources) > least and not view.many):
        wanted = " ".join(metavar for _, metavar in view.arguments)
        raise InputError(f"{view.name} takes {wanted or 'no sources'}; {len(sources)} given.")


def _name(source: Any, function: str) -> str:
    if isinstance(source, str | PathLike):
        return str(source)
    kind = type(source).__name__
    raise InputError(
        f"latentflow.views.{function} takes the paths of its sources, or random:SEED, not {kind}.",
        IN_MEMORY.get(function, ""),
    )


def _documentation(view: View) -> str:
    """The help of the command, and what a caller from Python has to know."""
    sources = " ".join(metavar for _, metavar in view.arguments)
    which = f"`sources` are {sources}, and the" if sources else "The"
    words = f"""{which} options are those of the command `{view.name}`. It writes the same files. The report that is
    returned has its `figures`, the files `written`, and the `error` that broke it off, if any did. `vae` is a name, a
    folder, a file or an `Autoencoder`; `session` shares loaded models. Raises `LatentflowError` as the command does."""
    return f"{inspect.cleandoc(view.help)}\n\n{textwrap.fill(' '.join(words.split()), 112)}"
