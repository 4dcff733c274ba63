"""`latentflow render`: the frames of a run again."""

from pathlib import Path
from typing import Any

import click

from latentflow.commands.options import CONTEXT, config_options, report_options, show
from latentflow.config import RenderConfig


@click.command(context_settings=CONTEXT)
@click.argument("trajectory", metavar="TRAJECTORY|MANIFEST")
@config_options(RenderConfig)
@report_options
def render(trajectory: str, quiet: bool, as_json: bool, **values: Any) -> None:
    """Write the frames of a run again, finished or broken off, in another format, speed or size, without optimizing.

    \b
    Example: latentflow render grad_result.gif.trajectory --output_path slow.mp4 --fps 8 --caption
    """
    from latentflow.interrupts import Interrupts

    with Interrupts() as interrupts:
        from latentflow.runs.render import render as write_again

        report = write_again(Path(trajectory).expanduser(), RenderConfig(**values), interrupts, quiet=quiet)
    show(report, as_json)
