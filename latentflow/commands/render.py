"""`latentflow render`: the frames of a run again."""

from typing import Any

import click

from latentflow.commands._options import CONTEXT, config_options, report_options, show
from latentflow.commands._terminal import terminal_session
from latentflow.runs.config import RenderConfig


@click.command(
    context_settings=CONTEXT, short_help="Write the frames of a run or a view again: another format, speed or size."
)
@click.argument("source", metavar="FILE")
@config_options(RenderConfig)
@report_options
def render(source: str, quiet: bool, as_json: bool, **values: Any) -> None:
    """Write the frames of a run, a comparison or a view again, finished or stopped, in another format, speed or size,
    without optimizing. FILE is its frames, its trajectory, its manifest, or any other file that it wrote.

    \b
    Example: latentflow render grad_result.gif --output_path slow.mp4 --fps 8 --caption
    """
    config = RenderConfig(**values)
    with terminal_session(quiet=quiet) as session:
        from latentflow.runs.render import render as write_again

        report = write_again([source], config, session)
    show(report, as_json)
