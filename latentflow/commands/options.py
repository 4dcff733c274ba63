"""Command-line options made from the fields of a config."""

import typing
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

import click

from latentflow.config import RunConfig

CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda token: token.replace("-", "_"),
    "max_content_width": 110,
}
_Command = typing.TypeVar("_Command", bound=Callable[..., Any])


def config_options(*names: str) -> Callable[[_Command], _Command]:
    """Give a command the options of `RunConfig`, all of them or those named; limits are checked by the config."""
    kinds = typing.get_type_hints(RunConfig)

    def decorate(function: _Command) -> _Command:
        for each in reversed(fields(RunConfig)):
            if names and each.name not in names:
                continue
            kind = next(
                kind
                for kind in (bool, int, float, str)
                if kind is kinds[each.name] or kind in typing.get_args(kinds[each.name])
            )
            choices = each.metadata["choices"]
            assert each.default is not MISSING
            function = click.option(
                f"--{each.name}",
                type=None if kind is bool else kind,
                is_flag=kind is bool,
                default=each.default,
                show_default=each.metadata["shown_default"] or (each.default is not None and kind is not bool),
                help=each.metadata["help"],
                metavar="|".join(choices) or each.metadata["metavar"] or None,
                callback=_underscores if choices else None,
            )(function)
        return function

    return decorate


def _underscores(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Choices are spelled with underscores; dashes work too."""
    return value.replace("-", "_")
