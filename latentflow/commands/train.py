"""`latentflow train`: an image autoencoder of one's own."""

import json
from typing import Any

import click

from latentflow.commands.options import CONTEXT, config_options, report_options, say
from latentflow.errors import InputError
from latentflow.training.config import TrainConfig


@click.command(context_settings=CONTEXT)
@config_options(TrainConfig)
@report_options
def train(quiet: bool, as_json: bool, **values: Any) -> None:
    """Train an image autoencoder on a folder of images, or on pictures this program draws, and write a folder that
    --vae and diffusers' from_pretrained read.

    \b
    Example: latentflow train --data photographs --steps 300 --output_dir model
    Several GPUs: accelerate launch -m latentflow train --data photographs --output_dir model
    """
    swept = {name: values[name] for name in ("kl_weight", "channels") if len(values[name] or ()) > 1}
    if len(swept) > 1:
        raise InputError("A sweep goes over one option: give several values to --kl_weight or to --channels.")
    values |= {name: (values[name] or (None,))[0] for name in ("kl_weight", "channels")}
    config = TrainConfig(**values)
    for name, several in swept.items():
        for value in several:
            TrainConfig(**{**values, name: value})
    from latentflow.interrupts import Interrupts
    from latentflow.training.plan import make_train_plan

    with Interrupts() as interrupts:
        if swept:
            from latentflow.training.sweep import sweep, table

            ((option, several),) = swept.items()
            reports = sweep(config, option, several, interrupts, say, quiet=quiet)
            shown = table(option, reports) if reports else ""
        else:
            plan = make_train_plan(config)
            from latentflow.training.run import train as run

            report = run(plan, interrupts, say, quiet=quiet)
            reports = [report] if report else []
            shown = str(report or "")
    if reports:
        summaries = [report.summary() for report in reports]
        click.echo(json.dumps(summaries if swept else summaries[0], indent=2) if as_json else shown.rstrip())
        if reports[-1].error is not None:
            raise reports[-1].error
