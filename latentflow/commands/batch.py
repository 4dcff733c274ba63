"""`latentflow batch`: the main command for folders of images."""

import sys
from typing import TYPE_CHECKING, Any

import click

from latentflow.commands._options import CONTEXT, config_options, report_options, show
from latentflow.commands._terminal import terminal_session
from latentflow.runs.config import BatchConfig

if TYPE_CHECKING:
    from latentflow.runs.batch.run import BatchReport


@click.command(
    context_settings=CONTEXT, short_help="Do so for folders of images: one model, resumable, on a cluster too."
)
@click.argument("sources", metavar="FOLDER|FILES...|LIST.txt", nargs=-1)
@config_options(BatchConfig, without=("image_path", "output_path"))
@report_options
@click.pass_context
def batch(context: click.Context, /, sources: tuple[str, ...], quiet: bool, as_json: bool, **values: Any) -> None:
    """Turn random latents into every image of a folder: one model for all, finished ones skipped, failures reported.

    \b
    Example: latentflow batch photographs --output_dir results --steps 100 --method hybrid
    """
    config = BatchConfig(**values)
    with terminal_session(quiet=quiet) as session:
        from latentflow.base.session import ignore
        from latentflow.runs.batch.plan import make_batch_plan
        from latentflow.runs.batch.run import local, run_batch

        if quiet:
            session.say = ignore
        session.quiet = True  # of each image's run
        plan = make_batch_plan(sources, config)
        engine = local
        if config.engine == "ray":
            from latentflow.runs.batch.cluster import ray_engine

            engine = ray_engine
        report = run_batch(plan, session, engine, _no_progress if quiet else _show_progress)
    show(report, as_json)
    context.exit(report.exit_code)


def _no_progress(report: "BatchReport") -> None:
    """Show nothing."""


def _show_progress(report: "BatchReport") -> None:
    worked_on = report.done + len(report.failed)
    minutes = report.seconds / worked_on * report.left / 60
    line = (
        f"{worked_on}/{worked_on + report.left} images, {report.images_per_hour:.0f} per hour, {minutes:.0f} min left"
    )
    click.echo(f"\r\x1b[K{line}" if sys.stderr.isatty() else line, nl=not sys.stderr.isatty(), err=True)
