"""`latentflow similar`: the images of a folder that are nearest to one."""

from pathlib import Path
from typing import Any

import click

from latentflow.commands.options import CONTEXT, config_options, report_options, say, show
from latentflow.explore.config import SimilarConfig


@click.command(context_settings=CONTEXT)
@click.argument("query", metavar="IMAGE|LATENT.safetensors|random:SEED")
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@config_options(SimilarConfig, count="-k")
@report_options
def similar(query: str, folder: Path, quiet: bool, as_json: bool, **values: Any) -> None:
    """Find the images of a folder whose latents are nearest to a query's, and show them in order.

    One sees what nearness means to an autoencoder: the same colors in the same places, seldom the same things. Latents
    are kept in an index beside the folder; the next search encodes what has changed since.

    \b
    Example: latentflow similar examples/cat.png photographs -k 8 --distance pooled --output_path similar.png
    """
    from latentflow.interrupts import Interrupts

    with Interrupts() as interrupts:
        from latentflow.explore.similar import run_similar

        report = run_similar(query, folder, SimilarConfig(**values), interrupts, say, quiet=quiet)
    show(report, as_json)
