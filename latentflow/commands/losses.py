"""`latentflow losses`: what can stand behind --loss_type."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from latentflow.commands.options import CONTEXT
from latentflow.errors import MissingPackageError


@click.command(context_settings=CONTEXT)
@click.option("--plugin", metavar="FILE", help="A Python file that registers losses of your own.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def losses(plugin: str | None, as_json: bool) -> None:
    """List the losses: what they compare, what they need, where they come from.

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
            declarations.append(registry.find(name).declaration)  # type: ignore[attr-defined]
        except ImportError as error:
            raise MissingPackageError(
                f"The loss {name} can't be imported: {error}.", f"pip install {error.name}"
            ) from error
    if as_json:
        click.echo(json.dumps([{**asdict(each), "options": dict(each.options)} for each in declarations], indent=2))
        return
    for each in declarations:
        click.echo(f"{each.name:<12}{each.summary}")
        low, high = each.input_range
        facts = [f"range [{low:g}, {high:g}]", f"at least {each.min_size} × {each.min_size} pixels"]
        facts += ["ignores the target"] if not each.reads_target else []
        facts += (
            [f"options {', '.join(f'{key}={value:g}' for key, value in each.options.items())}"] if each.options else []
        )
        facts += [f"needs {', '.join(each.requires)}"] if each.requires else []
        facts += [f"network {', '.join(each.weights)}"] if each.weights else []
        facts += [each.reference] if each.reference else []
        click.echo(" " * 12 + "; ".join(facts))
