"""`latentflow batch`: the main command for folders of images."""

import sys
from typing import Any

import click

from latentflow.commands.options import CONTEXT, config_options, report_options, say, show
from latentflow.config import BatchConfig


@click.command(context_settings=CONTEXT)
@click.argument("sources", metavar="FOLDER|FILES...|LIST.txt", nargs=-1)
@config_options(BatchConfig, without=("image_path", "output_path"))
@report_options
@click.pass_context
def batch(context: click.Context, /, sources: tuple[str, ...], quiet: bool, as_json: bool, **values: Any) -> None:
    """Turn random latents into every image of a folder: one model for all, finished ones skipped, failures reported.

    \b
    Example: latentflow batch photographs --output_dir results --steps 100 --method hybrid
    """
    from latentflow.interrupts import Interrupts

    with Interrupts() as interrupts:
        from latentflow.runs.batch.plan import make_batch_plan
        from latentflow.runs.batch.run import local, run_batch

        plan = make_batch_plan(sources, BatchConfig(**values))
        engine = local
        if plan.config.engine == "ray":
            from latentflow.runs.batch.cluster import ray_engine

            engine = ray_engine
        report = run_batch(plan, interrupts, _mute if quiet else say, engine, _progress(quiet))
    show(report, as_json)
    context.exit(report.exit_code)


def _mute(line: str) -> None:
    """Say nothing."""


def _progress(quiet: bool) -> Any:
    def show(done: int, total: int, seconds: float) -> None:
        if not quiet:
            rate, left = done / seconds * 3600, seconds / done * (total - done)
            line = f"{done}/{total} images, {rate:.0f} an hour, {left / 60:.0f} min left"
            click.echo(f"\r\x1b[K{line}" if sys.stderr.isatty() else line, nl=not sys.stderr.isatty(), err=True)

    return show
