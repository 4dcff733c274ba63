"""`latentflow doctor`: this machine, this installation and its caches, and what is wrong with them."""

import json
from dataclasses import asdict

import click

from latentflow.commands._options import CONTEXT

WIDTH = 18  # of the first column


@click.command(context_settings=CONTEXT, short_help="Say what is installed and cached, and what is wrong with it.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Say what this machine is, what is installed and what is cached, and what is wrong with it, with a remedy for
    each.

    It sends no request. The exit code is 1 where something is wrong.

    \b
    Example: latentflow doctor
    """
    from latentflow.commands._examination import examine

    findings = examine()
    wrong = [finding for finding in findings if finding.problem]
    if as_json:
        click.echo(json.dumps({"wrong": len(wrong), "findings": [asdict(each) for each in findings]}, indent=2))
    else:
        for each in findings:
            click.echo(f"{each.name:<{WIDTH}} {each.text}")
        click.echo("" if wrong else "\nNothing is wrong.")
        for each in wrong:
            click.echo(f"{each.name.strip()}: {each.problem.rstrip('.')}. {each.remedy}".strip())
    context.exit(1 if wrong else 0)
