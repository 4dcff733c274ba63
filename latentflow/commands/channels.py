"""`latentflow channels`: what each channel of a latent does."""

from typing import Any

import click

from latentflow.commands.options import CONTEXT, config_options, report_options, say, show
from latentflow.explore.config import ChannelsConfig


@click.command(context_settings=CONTEXT)
@click.argument("sources", metavar="IMAGE", nargs=-1)
@config_options(ChannelsConfig)
@report_options
def channels(sources: tuple[str, ...], quiet: bool, as_json: bool, **values: Any) -> None:
    """Take an image's latent apart: each channel as a map, and the picture without it, of it alone, and swept.

    One sees what each channel is for: brightness, a pair of opposite colors, edges. A map looks like a small picture
    since latents keep their place; what the picture loses without a channel is what only that channel knows.

    \b
    Example: latentflow channels examples/spheres.png --output_path channels.png
    """
    from latentflow.interrupts import Interrupts

    with Interrupts() as interrupts:
        from latentflow.explore.channels import run_channels

        report = run_channels(sources, ChannelsConfig(**values), interrupts, say, quiet=quiet)
    show(report, as_json)
