"""`latentflow stats`: how the latents of a folder are distributed."""

from typing import Any

import click

from latentflow.commands.options import CONTEXT, config_options, report_options, say, show
from latentflow.explore.config import StatsConfig


@click.command(context_settings=CONTEXT)
@click.argument("folder")
@config_options(StatsConfig)
@report_options
def stats(folder: str, quiet: bool, as_json: bool, **values: Any) -> None:
    """Tell how the latents of a folder's images are distributed: each channel against the normal, channels against each
    other, values against their neighbours in space.

    One sees how far a space is from the N(0, 1) that it is taken for: random latents lack the heavy tails, and the
    likeness of neighbours, that those of pictures have, which is why they decode to texture.

    \b
    Example: latentflow stats photographs --output_path stats.png
    """
    from latentflow.interrupts import Interrupts

    with Interrupts() as interrupts:
        from latentflow.explore.stats import run_stats

        report = run_stats(folder, StatsConfig(**values), interrupts, say, quiet=quiet)
    show(report, as_json)
