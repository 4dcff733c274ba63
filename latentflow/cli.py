"""The command line: one group with a default command, and the one place where exceptions become exit codes."""

import atexit
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from latentflow import __version__, commands
from latentflow.base.errors import InputError, LatentflowError, OutOfMemoryError, as_options, is_out_of_memory
from latentflow.base.options import did_you_mean
from latentflow.commands._options import CONTEXT, names_an_image
from latentflow.commands._terminal import interrupted_by, termination_raises, write_any_encoding
from latentflow.commands._views import view_command
from latentflow.explore.views import VIEWS

DEFAULT = "optimize"


def find_command(name: str) -> click.Command | None:
    """A command by its name: a file in `commands` or a view; None where there is neither."""
    if name in _command_files():
        command: click.Command = getattr(import_module(f"latentflow.commands.{name}"), name)
        return command
    return view_command(VIEWS[name]) if name in VIEWS else None


def _command_files() -> list[str]:
    return sorted(path.stem for path in Path(commands.__file__).parent.glob("[!_]*.py"))


def command_names() -> list[str]:
    """The names of all commands, the default one first, then the other files of `commands`, then the views."""
    return [DEFAULT, *(name for name in _command_files() if name != DEFAULT), *VIEWS]


VIEWS.reserve(_command_files())


class EndedBySignals(click.Command):
    """Ends with one line at a signal that comes before a session has handlers, or to a command without a session."""

    def invoke(self, context: click.Context) -> Any:
        try:
            with termination_raises():
                return super().invoke(context)
        except KeyboardInterrupt as error:
            raise interrupted_by(error) from None


class DefaultGroup(EndedBySignals, click.Group):
    """A leading option means the default command; a leading bare word is always a command."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        own = {"-h", "--help", "--version"}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = [DEFAULT, *args]
        return super().parse_args(context, args)

    def list_commands(self, context: click.Context) -> list[str]:
        return command_names()

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return find_command(name)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in _command_files() or args[0] in VIEWS:
            return super().resolve_command(context, args)
        word = args[0]
        if "." in word or "/" in word:
            raise InputError(f"There is no command {word!r}.", f"Did you mean --image_path {word}?")
        raise InputError(
            f"There is no command {word!r}.",
            did_you_mean(word, command_names()) or f"The commands are {', '.join(command_names())}.",
        )

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        command = self.get_command(context, DEFAULT)
        assert command is not None
        command.format_options(context, formatter)
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(name)) for name in _command_files()])
        with formatter.section("Views of a latent space"):
            formatter.write_dl(list(VIEWS.described(lambda view: view.summary).items()))


def _summary(name: str) -> str:
    command = find_command(name)
    assert command is not None
    return command.get_short_help_str(limit=200)


@click.group("latentflow", cls=DefaultGroup, context_settings=CONTEXT, subcommand_metavar="[COMMAND] [OPTIONS]")
@click.version_option(__version__, prog_name="latentflow")
def group() -> None:
    """See what an image autoencoder's latent space does: a random latent becomes the target image, frame by frame.

    \b
    Example: latentflow --image_path examples/spheres.png --loss_type l1 --output_path spheres.gif
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    sys.exit(run(args))


def program(begin: Callable[[], NoReturn] = main) -> NoReturn:
    """The program `latentflow`: `main`, without the seconds that Python takes to free what torch has imported."""
    code: Any = 1  # of a bug

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(leave)  # the first is called last
    try:
        begin()
    except SystemExit as error:
        code = error.code
        raise


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code, with one line on stderr when it isn't 0. A bug keeps its traceback."""
    return exit_code(group, args, "latentflow")


def exit_code(command: click.Command, args: Sequence[str] | None, name: str) -> int:
    """Run a command as the program `name`; gives the exit code, as `run` does."""
    write_any_encoding()
    try:
        code = command.main(args=args, prog_name=name, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except LatentflowError as error:
        return _say(error)
    except click.NoSuchOption as error:
        near = ", ".join(error.possibilities or ())
        return _say(InputError(f"There is no option {error.option_name}.", f"Did you mean {near}?" if near else ""))
    except click.ClickException as error:
        return _say(InputError(error.format_message().rstrip(".") + ".", _meant(error)))
    except (KeyboardInterrupt, click.Abort):
        return 130
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _say(OutOfMemoryError("Out of memory.", "A smaller --size needs less."))


def _meant(error: click.ClickException) -> str:
    """A hint for whoever names an image without its option."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    extra = re.search(r"unexpected extra argument \((.+)\)", error.format_message())
    if context is None or extra is None or not any(each.name == "image_path" for each in context.command.params):
        return ""
    return names_an_image(extra[1])


def _say(error: LatentflowError) -> int:
    click.echo(f"latentflow: {as_options(str(error))}", err=True)
    return error.exit_code
