"""`latentflow grid`: a decoded plane."""

from typing import Any

import click

from latentflow.commands.options import CONTEXT, config_options, report_options, say, show
from latentflow.explore.config import GridConfig


@click.command(context_settings=CONTEXT)
@click.argument("sources", metavar="FOLDER|IMAGE|IMAGE IMAGE IMAGE", nargs=-1)
@config_options(GridConfig)
@report_options
def grid(sources: tuple[str, ...], quiet: bool, as_json: bool, **values: Any) -> None:
    """Decode a plane of the latent space: through three images, around one, or through what differs most in a folder.

    One sees how far a picture carries: along the lines between images it mixes, around one it holds out against random
    directions for a while, and a folder's first components turn out to be light and dark, warm and cold.

    \b
    Example: latentflow grid examples/spheres.png examples/cat.png random:7 --output_path grid.png
    """
    from latentflow.interrupts import Interrupts

    with Interrupts() as interrupts:
        from latentflow.explore.grid import run_grid

        report = run_grid(sources, GridConfig(**values), interrupts, say, quiet=quiet)
    show(report, as_json)
