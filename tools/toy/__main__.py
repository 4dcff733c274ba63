"""`python -m tools.toy`: train a small text-to-image model, with the messages and exit codes of `latentflow`."""

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from latentflow.cli import EndedBySignals, exit_code, program
from latentflow.commands._options import CONTEXT, config_options, report_options, show
from latentflow.commands._terminal import terminal_session
from tools.toy.config import TrainPromptsConfig


@click.command(cls=EndedBySignals, context_settings=CONTEXT)
@config_options(TrainPromptsConfig)
@report_options
def toy(quiet: bool, as_json: bool, **values: Any) -> None:
    """Train a small text-to-image model on a folder of images with captions or on scenes that this program draws, and
    write a folder for prompts --model or for diffusers' from_pretrained.

    The model is a toy: it knows only the words and things it was trained on.

    \b
    Example: python -m tools.toy --data generated --steps 5000 --output_dir model
    """
    from tools.toy.plan import make_plan

    plan = make_plan(TrainPromptsConfig(**values))
    with terminal_session(quiet=quiet) as session:
        from tools.toy.run import train_prompts

        report = train_prompts(plan, session)
    show(report, as_json)


def run(args: Sequence[str] | None = None) -> int:
    """Train as the arguments say; gives the exit code, as `latentflow.cli.run` does."""
    return exit_code(toy, args, "python -m tools.toy")


def main() -> NoReturn:
    """Train as the command line says and exit with its code."""
    sys.exit(run())


if __name__ == "__main__":
    program(main)
