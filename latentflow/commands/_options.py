"""Command-line options made from the fields of a config."""

import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import Any

import click

from latentflow.base.errors import LatentflowError, as_options
from latentflow.base.options import Options, in_order, leaves
from latentflow.base.registry import Registry, explained
from latentflow.inversion.config import RunConfig

CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda token: token.replace("-", "_"),
    "max_content_width": 110,
}
_Command = typing.TypeVar("_Command", bound=Callable[..., Any])


def config_options(
    config: type[Options] = RunConfig, without: tuple[str, ...] = (), short: Mapping[str, str] | None = None
) -> Callable[[_Command], _Command]:
    """Give a command the options of a config, its own before those of its bases, some left out, some with a
    `short` name too ({"count": "-k"}); limits are checked by the config."""
    kinds = typing.get_type_hints(config)
    chosen = [each for each in in_order(config) if each.name not in without]

    def decorate(function: _Command) -> _Command:
        for each in reversed(chosen):
            kind = next(kind for kind in (bool, int, float, str) if kind in leaves(kinds[each.name]))
            choices = each.metadata["choices"]
            brought, fixed = isinstance(choices, Registry), () if isinstance(choices, Registry) else choices
            assert each.default is not MISSING
            undecided = kind is bool and each.default is None
            function = click.option(
                *([short[each.name]] if short and each.name in short else []),
                f"--{each.name}/--no_{each.name}" if undecided else f"--{each.name.rstrip('_')}",
                each.name,
                type=Several(kind) if each.metadata["many"] else None if kind is bool else kind,
                is_flag=kind is bool,
                default=each.default,
                show_default=as_options(each.metadata["shown_default"])
                or (each.default is not None and kind is not bool),
                help=as_options(each.metadata["help"]),
                metavar="|".join(fixed) or each.metadata["metavar"] or None,
                callback=_underscores if brought or fixed else None,
                **({"cls": _Extended, "registry": choices} if brought else {}),
            )(function)
        return function

    return decorate


class _Extended(click.Option):
    """An option with choices that installed packages add to; they are listed when its help is shown, and only then."""

    def __init__(self, *args: Any, registry: Registry[Any], **options: Any) -> None:
        self.registry = registry
        super().__init__(*args, **options)

    @property
    def metavar(self) -> str:  # type: ignore[override]
        """The names."""
        return "|".join(self.registry)

    @metavar.setter
    def metavar(self, value: str | None) -> None:
        """Ignore the value that click sets."""

    def get_help_record(self, context: click.Context) -> tuple[str, str] | None:
        self.help = explained(self.help or "", self.registry)
        return super().get_help_record(context)


def names_an_image(word: str) -> str:
    """A hint for a word without an option: it may be the image. A word that is no path may be anything."""
    return f"Did you mean --image_path {word}?" if "." in word or "/" in word else "Options begin with --."


def report_options(function: _Command) -> _Command:
    """Give a command --quiet and --json."""
    function = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")(function)
    return click.option("--quiet", is_flag=True, help="No progress and no hints.")(function)


class Report(typing.Protocol):
    """The result of a command: plain values for JSON, `str()` for people, and the error that ended it early, if any."""

    @property
    def error(self) -> LatentflowError | None: ...

    def summary(self) -> dict[str, Any]: ...


def show(report: Report, as_json: bool, *, err: bool = False) -> None:
    """Print a report, on standard error with `err`; raises what broke its run off."""
    click.echo(json.dumps(report.summary(), indent=2) if as_json else as_options(str(report)), err=err)
    if report.error is not None:
        raise report.error


class Several(click.ParamType):
    """One value, or several separated by commas: a tuple."""

    def __init__(self, kind: type) -> None:
        self.kind = click.types.convert_type(kind)
        self.name = f"{self.kind.name}[,…]"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if isinstance(value, tuple | list):  # converted before, or of a manifest
            return tuple(value)
        texts = value.split(",") if isinstance(value, str) else [value]
        return tuple(self.kind.convert(text, parameter, context) for text in texts)


def _underscores(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Choices are spelled with underscores; dashes work too."""
    return value and value.replace("-", "_")
