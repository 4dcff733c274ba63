"""`latentflow train`: train an image autoencoder."""

import json
from typing import Any

import click

from latentflow.base.errors import InputError
from latentflow.commands._options import CONTEXT, config_options, report_options
from latentflow.commands._terminal import terminal_session
from latentflow.training.config import TrainConfig


@click.command(
    context_settings=CONTEXT, short_help="Train an image autoencoder on a folder of images or on generated images."
)
@config_options(TrainConfig)
@report_options
def train(quiet: bool, as_json: bool, **values: Any) -> None:
    """Train an image autoencoder on a folder of images or on images that this program draws, and write a folder for
    --vae or for diffusers' from_pretrained.

    \b
    Example: latentflow train --data photographs --steps 300 --output_dir model
    Several GPUs: accelerate launch -m latentflow train --data photographs --output_dir model
    """
    swept = {name: values[name] for name in ("kl_weight", "channels") if len(values[name] or ()) > 1}
    if len(swept) > 1:
        raise InputError("Only one of `kl_weight` and `channels` can have several values.")
    values |= {name: (values[name] or (None,))[0] for name in ("kl_weight", "channels")}
    config = TrainConfig(**values)
    for name, several in swept.items():
        for value in several:  # checks them all before the first training
            TrainConfig(**{**values, name: value})
    from latentflow.training.plan import make_train_plan

    with terminal_session(quiet=quiet) as session:
        if swept:
            from latentflow.training.sweep import sweep, table

            ((option, several),) = swept.items()
            reports = sweep(config, option, several, session)
            shown = table(option, reports) if reports else ""
        else:
            plan = make_train_plan(config)
            from latentflow.training.run import train as run

            report = run(plan, session)
            reports = [report] if report else []
            shown = f"{report}\ntry       latentflow --image_path examples/spheres.png --vae {plan.folder}"
    if reports:
        summaries = [report.summary() for report in reports]
        click.echo(json.dumps(summaries if swept else summaries[0], indent=2) if as_json else shown.rstrip())
        if reports[-1].error is not None:
            raise reports[-1].error
