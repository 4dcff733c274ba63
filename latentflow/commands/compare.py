"""`latentflow compare`: what each loss does."""

from typing import Any

import click

from latentflow.commands.options import CONTEXT, config_options, report_options, say, show
from latentflow.config import CompareConfig


@click.command(context_settings=CONTEXT)
@config_options(CompareConfig)
@report_options
def compare(quiet: bool, as_json: bool, **values: Any) -> None:
    """Let the same random start flow to the same target under several losses, side by side, and tell how near each
    comes.

    \b
    Example: latentflow compare --image_path examples/spheres.png --losses mse,ssim,lpips --output_path compare.gif
    """
    from latentflow.interrupts import Interrupts

    with Interrupts() as interrupts:
        from latentflow.runs.compare import make_compare_plan, run_compare

        report = run_compare(make_compare_plan(CompareConfig(**values)), interrupts, say, quiet=quiet)
    show(report, as_json)
