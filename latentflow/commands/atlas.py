"""`latentflow atlas`: the pictures of a folder, laid out by their latents."""

from pathlib import Path
from typing import Any

import click

from latentflow.commands.options import CONTEXT, config_options, report_options, say, show
from latentflow.explore.config import AtlasConfig


@click.command(context_settings=CONTEXT)
@click.argument("folder", type=click.Path(path_type=Path))
@config_options(AtlasConfig)
@report_options
def atlas(folder: Path, quiet: bool, as_json: bool, **values: Any) -> None:
    """Lay out the pictures of a folder by their latents, as a figure and as a page to pan, zoom and hover over.

    One sees what the latent space holds to be alike: neighbours share colors, brightness and layout sooner than a
    subject, since a latent is a small picture more than a thought. Frames show clusters, and the page (.html beside the
    figure, one file, no network) shows each picture's name and nearest neighbours.

    \b
    Example: latentflow atlas photographs --output_path atlas.png
    """
    from latentflow.interrupts import Interrupts

    with Interrupts() as interrupts:
        from latentflow.explore.atlas.run import run_atlas

        report = run_atlas(folder.expanduser(), AtlasConfig(**values), interrupts, say, quiet=quiet)
    show(report, as_json)
