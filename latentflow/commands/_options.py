"""Command-line options made from the fields of a config."""

import inspect
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

import click

from latentflow.config import Options, RunConfig
from latentflow.errors import LatentflowError, as_options

CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda token: token.replace("-", "_"),
    "max_content_width": 110,
}
_Command = typing.TypeVar("_Command", bound=Callable[..., Any])


def config_options(
    config: type[Options] = RunConfig, without: tuple[str, ...] = (), short: Mapping[str, str] | None = None
) -> Callable[[_Command], _Command]:
    """Give a command the options of a config, its own before those it shares, some left out, some with a `short` name
    too ({"count": "-k"}); limits are checked by the config."""
    kinds = typing.get_type_hints(config)
    own = inspect.get_annotations(config)
    chosen = sorted(
        (each for each in fields(config) if each.name not in without), key=lambda each: each.name not in own
    )

    def decorate(function: _Command) -> _Command:
        for each in reversed(chosen):
            kind = next(kind for kind in (bool, int, float, str) if kind in _leaves(kinds[each.name]))
            choices = each.metadata["choices"]
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
                metavar="|".join(choices) or each.metadata["metavar"] or None,
                callback=_underscores if choices else None,
            )(function)
        return function

    return decorate


def _leaves(kind: Any) -> set[Any]:
    """The plain types in a type such as tuple[int, ...] | None."""
    inner = typing.get_args(kind)
    return set().union(*(_leaves(each) for each in inner)) if inner else {kind}


def report_options(function: _Command) -> _Command:
    """Give a command --quiet and --json."""
    function = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")(function)
    return click.option("--quiet", is_flag=True, help="No progress and no hints.")(function)


class Report(typing.Protocol):
    """What a command came to: plain values for JSON, `str()` for people, and what broke it off, if anything did."""

    @property
    def error(self) -> LatentflowError | None: ...

    def summary(self) -> dict[str, Any]: ...


def show(report: Report, as_json: bool) -> None:
    """Print a report; raises what broke its run off."""
    click.echo(json.dumps(report.summary(), indent=2) if as_json else as_options(str(report)))
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
