"""`latentflow evaluate`: how much of a folder's images autoencoders keep."""

from pathlib import Path
from typing import Any

import click

from latentflow.commands.options import CONTEXT, config_options, report_options, say, show
from latentflow.explore.config import EvaluateConfig


@click.command(context_settings=CONTEXT)
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@config_options(EvaluateConfig)
@report_options
def evaluate(folder: Path, quiet: bool, as_json: bool, **values: Any) -> None:
    """Measure what is left of a folder's images behind encoder and decoder, and show those that lose most.

    One sees what a latent has no room for: small faces, letters, fine texture. With --optimize a second row says how
    much of that is the encoder's fault, since the same decoder can do better from a better latent. Stopped, the same
    command goes on from its table.

    \b
    Example: latentflow evaluate photographs --optimize 20 --output_path evaluate.png
    Several: latentflow evaluate photographs --vae bundled,stabilityai/sd-vae-ft-mse
    """
    from latentflow.interrupts import Interrupts

    with Interrupts() as interrupts:
        from latentflow.explore.evaluate.run import run_evaluate

        report = run_evaluate(folder, EvaluateConfig(**values), interrupts, say, quiet=quiet)
    show(report, as_json)
