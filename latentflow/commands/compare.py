"""`latentflow compare`: what each loss does."""

from typing import Any

import click

from latentflow.commands._options import CONTEXT, config_options, report_options, show
from latentflow.commands._terminal import terminal_session
from latentflow.runs.config import CompareConfig


@click.command(
    context_settings=CONTEXT, short_help="Show what each loss does: the same start and target, side by side."
)
@config_options(CompareConfig)
@report_options
def compare(quiet: bool, as_json: bool, **values: Any) -> None:
    """Turn the same random latent into the same target under several losses, side by side, and measure how near each
    comes.

    \b
    Example: latentflow compare --image_path examples/spheres.png --losses mse,ssim,lpips --output_path compare.gif
    """
    config = CompareConfig(**values)
    with terminal_session(quiet=quiet) as session:
        from latentflow.runs.compare import run_compare

        report = run_compare([], config, session)
    show(report, as_json)
