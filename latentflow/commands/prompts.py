"""`latentflow prompts`: pictures from prompts, and walks between them."""

from typing import Any

import click

from latentflow.commands._options import CONTEXT, config_options, report_options, show
from latentflow.commands._terminal import terminal_session
from latentflow.prompts.config import PromptsConfig


@click.command(context_settings=CONTEXT, short_help="Walk through prompts and noise with a diffusers pipeline.")
@click.argument("prompts", metavar='"PROMPT[@SEED]"...', nargs=-1)
@config_options(PromptsConfig)
@report_options
def prompts(prompts: tuple[str, ...], quiet: bool, as_json: bool, **values: Any) -> None:
    """Walk from prompt to prompt through the noise and the words of a diffusers pipeline, and write the pictures. A
    prompt may name its seed; @SEED alone keeps the words of the one before.

    Every frame is generated, none is faded into the next. With --show_steps, the denoising of each prompt is shown
    instead.

    \b
    Example: latentflow prompts "a street at night@1" "a face@7" "@8" --even --output_path walk.mp4
    Or:      latentflow prompts "a street at night" --show_steps --output_path steps.gif
    """
    config = PromptsConfig(**values)
    with terminal_session(quiet=quiet) as session:
        from latentflow.prompts.run import run_prompts

        report = run_prompts(prompts, config, session)
    show(report, as_json)
