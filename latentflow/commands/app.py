"""`latentflow app`: runs, walks and views in a browser, computed where it is started."""

from typing import Any

import click

from latentflow.app.config import AppConfig
from latentflow.commands._options import CONTEXT, config_options
from latentflow.commands._terminal import say


@click.command(
    context_settings=CONTEXT, short_help="Serve an app for a browser: runs, walks and views, computed on this machine."
)
@config_options(AppConfig)
def app(**values: Any) -> None:
    """Serve an app in which runs, walks, channels, atlases, comparisons and concepts of any autoencoder are made in a
    browser. Everything is computed on this machine, and only this machine reaches it unless you say otherwise.

    The command needs 'latentflow[app]'. Ctrl-C ends it.

    \b
    Example: latentflow app --vae bundled --folder photographs
    """
    config = AppConfig(**values)
    from latentflow.app.run import serve
    from latentflow.base.session import Session

    serve(config, Session(say))
