"""`latentflow walk`: pictures between pictures."""

from typing import Any

import click

from latentflow.commands.options import CONTEXT, config_options, report_options, say, show
from latentflow.explore.config import WalkConfig


@click.command(context_settings=CONTEXT)
@click.argument("sources", metavar="IMAGE|LATENT.safetensors|random:SEED...", nargs=-1)
@config_options(WalkConfig)
@report_options
def walk(sources: tuple[str, ...], quiet: bool, as_json: bool, **values: Any) -> None:
    """Walk through the latent space from image to image, and write what lies between.

    One sees how the decoder fills the gap. Its latents are local, so far pictures cross-fade, but with edges that are
    drawn anew at every point; near pictures melt into each other, and where a walk falls apart the space has holes.

    \b
    Example: latentflow walk examples/spheres.png examples/cat.png --even --loop --output_path walk.gif
    """
    from latentflow.interrupts import Interrupts

    with Interrupts() as interrupts:
        from latentflow.explore.walk import run_walk

        report = run_walk(sources, WalkConfig(**values), interrupts, say, quiet=quiet)
    show(report, as_json)
