"""The commands of the views, all made from their entries in `latentflow.explore.views`."""

import inspect
from typing import Any

import click

from latentflow.base.files import STDIN
from latentflow.commands._options import CONTEXT, config_options, report_options, show
from latentflow.commands._terminal import terminal_session
from latentflow.explore.views import View


def view_command(view: View) -> click.Command:
    """The click command of a view."""

    @click.pass_context
    def command(context: click.Context, /, quiet: bool, as_json: bool, **values: Any) -> None:
        sources = [source for name, _ in view.arguments for source in _several(values.pop(name))]
        config: Any = view.config(**values)
        with terminal_session(quiet=quiet) as session:
            report = view.run(sources, config, session)
        show(report, as_json, err=str(config.output_path) == STDIN)
        context.exit(report.exit_code)

    command.__doc__ = help_text(inspect.cleandoc(view.help), view.examples)
    decorated: Any = config_options(view.config, short=view.short)(report_options(command))
    last = len(view.arguments) - 1
    for place, (name, metavar) in reversed(list(enumerate(view.arguments))):
        many = view.many and place == last
        decorated = click.argument(name, metavar=metavar, nargs=-1 if many else 1)(decorated)
    return click.command(view.name, context_settings=CONTEXT, short_help=view.summary)(decorated)


def help_text(text: str, examples: tuple[str, ...]) -> str:
    """A command's help with its examples, which click leaves as they are behind a \\b."""
    lines = [f"{'Example:' if place == 0 else 'Or:     '} {example}" for place, example in enumerate(examples)]
    return "\n".join([text, "", "\b", *lines])


def _several(value: Any) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (value,)
