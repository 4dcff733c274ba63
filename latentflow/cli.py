"""The command line: one group with a default command, and the one place where exceptions become exit codes."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from latentflow import __version__
from latentflow.commands.options import CONTEXT
from latentflow.config import did_you_mean
from latentflow.errors import InputError, LatentflowError, OutOfMemoryError, is_out_of_memory

DEFAULT = "optimize"
COMMANDS = {
    "optimize": "Turn a random latent into an image (the default command).",
    "batch": "Do so for folders of images, with one model, resumable, on a cluster too.",
    "compare": "Show what each loss does: the same start and target, side by side.",
    "render": "Write the frames of a run again: another format, speed or size.",
    "walk": "Pictures on a way between images: slerp, lerp, spline, evened out, looped.",
    "channels": "What each channel of a latent does: map, without, alone, swept.",
    "grid": "A decoded plane: through three images, around one, or through a folder.",
    "curvature": "How the decoder bends a plane: pull-back metric, ellipses, a geodesic.",
    "stats": "How the latents of a folder are distributed, against the normal and in space.",
    "evaluate": "How much of a folder's images autoencoders keep: PSNR, SSIM, MS-SSIM, LPIPS, rFID.",
    "similar": "The images of a folder nearest to one: l2, cosine or pooled; an index remembers.",
    "concept": "A direction from two folders, applied to an image; held-out images judge it.",
    "atlas": "A folder's pictures laid out by their latents: a figure and a zoomable page.",
    "losses": "List what can stand behind --loss_type.",
    "train": "Train an image autoencoder on a folder of images, or on generated pictures.",
    "weights": "Show and prepare the weights: list, fetch, verify, path.",
}


class DefaultGroup(click.Group):
    """A leading option means the default command; a leading bare word is always a command."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        own = {"-h", "--help", "--version"}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = [DEFAULT, *args]
        return super().parse_args(context, args)

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"latentflow.commands.{name}"), name)
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in COMMANDS:
            return super().resolve_command(context, args)
        word = args[0]
        if "." in word or "/" in word:
            raise InputError(f"There is no command {word!r}.", f"Did you mean --image_path {word}?")
        raise InputError(
            f"There is no command {word!r}.", did_you_mean(word, COMMANDS) or f"The commands are {', '.join(COMMANDS)}."
        )

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        command = self.get_command(context, DEFAULT)
        assert command is not None
        command.format_options(context, formatter)
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=DefaultGroup, context_settings=CONTEXT, subcommand_metavar="[COMMAND] [OPTIONS]")
@click.version_option(__version__, prog_name="latentflow")
def group() -> None:
    """See what an image autoencoder's latent space does: a random latent becomes the target image, frame by frame.

    \b
    Example: latentflow --image_path examples/spheres.png --loss_type l1 --output_path spheres.gif
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    sys.exit(run(args))


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code, with one line on stderr when it isn't 0. A bug keeps its traceback."""
    try:
        code = group.main(args=args, prog_name="latentflow", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except LatentflowError as error:
        return _say(error)
    except click.ClickException as error:
        return _say(InputError(error.format_message().rstrip(".") + "."))
    except (KeyboardInterrupt, click.Abort):
        return 130
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _say(OutOfMemoryError("Out of memory.", "A smaller --size needs less."))


def _say(error: LatentflowError) -> int:
    click.echo(f"latentflow: {error}", err=True)
    return error.exit_code
