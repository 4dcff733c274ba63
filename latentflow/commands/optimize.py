"""The main command: a latent becomes the target image, and the frames go to a file."""

import dataclasses
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from latentflow.base.errors import InputError
from latentflow.base.options import MAX_SEED, options_that
from latentflow.commands._options import CONTEXT, config_options, names_an_image, report_options, show
from latentflow.commands._terminal import terminal_session
from latentflow.inversion.config import RunConfig


def _from_manifest(context: click.Context, parameter: click.Parameter, path: str | None) -> dict[str, Any] | None:
    """Take the options of an earlier run as defaults, so that those on the command line win."""
    if path is None:
        return None
    from latentflow.sinks.manifest import read_manifest

    content = read_manifest(Path(path))
    known = {each.name for each in dataclasses.fields(RunConfig)}
    unknown = set(content["options"]) - known
    if unknown:
        raise InputError(f"--from_manifest {path} has options that are unknown here: {', '.join(sorted(unknown))}.")
    context.default_map = _given(content["options"])
    return content


def _resume(context: click.Context, parameter: click.Parameter, path: str | None) -> dict[str, Any] | None:
    """Take the options of the run that was stopped."""
    if path is None:
        return None
    from latentflow.runs.resume import read_checkpoint

    checkpoint = read_checkpoint(Path(path))
    context.default_map = _given(checkpoint["facts"]["options"])
    return checkpoint


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options of an earlier run that are to hold again; what may be replaced is said each time. Of a seed above
    `MAX_SEED`, which 0.1.0 took, torch used these bits."""
    given = {key: value for key, value in options.items() if value is not None and key != "overwrite"}
    return given | ({"seed": given["seed"] & MAX_SEED} if isinstance(given.get("seed"), int) else {})


@click.command(
    context_settings=CONTEXT | {"allow_extra_args": True},
    short_help="Turn a random latent into an image (the default command).",
)
@config_options()
@click.option(
    "--resume",
    metavar="FILE",
    is_eager=True,
    callback=_resume,
    help="Continue a stopped run from its checkpoint, with its options.",
)
@click.option(
    "--from_manifest",
    metavar="FILE",
    is_eager=True,
    callback=_from_manifest,
    help="Repeat a run from its manifest; options given beside it take precedence.",
)
@report_options
@click.pass_context
def optimize(
    context: click.Context,
    /,
    from_manifest: dict[str, Any] | None,
    resume: dict[str, Any] | None,
    quiet: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Turn a random latent into the target image, by the gradient through a VAE decoder, and write the decoded frames.

    \b
    Example: latentflow --image_path examples/spheres.png --loss_type l1 --output_path spheres.gif
    """
    if context.args:
        raise InputError(f"Unexpected argument {context.args[0]!r}.", names_an_image(context.args[0]))

    def given(option: str) -> bool:
        return context.get_parameter_source(option) is ParameterSource.COMMANDLINE

    fixed = [
        option for option in values if resume and given(option) and option in options_that(RunConfig, may_change=False)
    ]
    if fixed:
        raise InputError(f"--resume goes on with the options of the run; {typed(context, fixed[0])} can't be changed.")
    earlier = None if given("image_path") or given("vae") or given("weights") else from_manifest
    from latentflow.runs.plan import make_plan

    with terminal_session(quiet=quiet) as session:
        plan = make_plan(RunConfig(**values), resume)
        from latentflow.runs.run import run  # the first import of torch: whatever could be refused before, was

        report = run(plan, session, earlier=earlier, checkpoint=resume)
    show(report, as_json)


def typed(context: click.Context, option: str) -> str:
    """An option as it was typed: --no_compile where its value is false."""
    (parameter,) = (each for each in context.command.params if each.name == option)
    off = context.params.get(option) is False and parameter.secondary_opts
    return parameter.secondary_opts[0] if off else parameter.opts[0]
