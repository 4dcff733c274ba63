"""`latentflow losses`: the losses that --loss_type takes."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentflow.base.errors import MissingPackageError
from latentflow.commands._options import CONTEXT

if TYPE_CHECKING:
    from latentflow.losses import Declaration

INDENT = 12


@click.command(context_settings=CONTEXT, short_help="List the losses that --loss_type takes.")
@click.option("--plugin", metavar="FILE", help="Python file that registers losses of your own.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def losses(plugin: str | None, as_json: bool) -> None:
    """List the losses: what each computes, its requirements, its options and its source.

    \b
    Example: latentflow losses
    """
    from latentflow import losses as registry

    if plugin is not None:
        from latentflow.inversion.plugins import load_plugin

        load_plugin(Path(plugin))
    declarations = []
    for name in registry.names():
        try:
            declarations.append(registry.find(name).declaration)
        except ImportError as error:
            raise MissingPackageError(
                f"The loss {name} can't be imported: {error}.", f"pip install {error.name}"
            ) from error
    if as_json:
        click.echo(json.dumps([{**asdict(each), "options": dict(each.options)} for each in declarations], indent=2))
        return
    for each in declarations:
        click.echo(f"{each.name:<{INDENT}}{each.summary}")
        click.echo(" " * INDENT + "; ".join(_facts(each)))


def _facts(declaration: "Declaration") -> list[str]:
    low, high = declaration.input_range
    smallest = declaration.min_size
    facts = [f"input range [{low:g}, {high:g}]", f"at least {smallest} × {smallest} pixels"]
    if not declaration.reads_target:
        facts.append("ignores the target")
    if declaration.options:
        facts.append("options " + ", ".join(f"{key}={value:g}" for key, value in declaration.options.items()))
    if declaration.requires:
        facts.append("package " + ", ".join(declaration.requires))
    if declaration.weights:
        facts.append("network " + ", ".join(declaration.weights))
    facts.append(f"mask: {declaration.mask or 'takes none'}")
    return [*facts, declaration.reference] if declaration.reference else facts
