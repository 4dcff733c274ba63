"""`latentflow train_prompts`: train a small text-to-image model."""

from typing import Any

import click

from latentflow.commands._options import CONTEXT, config_options, report_options, show
from latentflow.commands._terminal import terminal_session
from latentflow.training.text_to_image.config import TrainPromptsConfig


@click.command(context_settings=CONTEXT, short_help="Train a small text-to-image model on images with captions.")
@config_options(TrainPromptsConfig)
@report_options
def train_prompts(quiet: bool, as_json: bool, **values: Any) -> None:
    """Train a small text-to-image model on a folder of images with captions or on scenes that this program draws, and
    write a folder for prompts --model or for diffusers' from_pretrained.

    The model is a toy: it knows only the words and things it was trained on.

    \b
    Example: latentflow train_prompts --data generated --steps 5000 --output_dir model
    """
    from latentflow.training.text_to_image.plan import make_plan

    plan = make_plan(TrainPromptsConfig(**values))
    with terminal_session(quiet=quiet) as session:
        from latentflow.training.text_to_image.run import train_prompts

        report = train_prompts(plan, session)
    show(report, as_json)
