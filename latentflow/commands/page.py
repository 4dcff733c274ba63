"""`latentflow page`: the whole flow as a page for a browser."""

from typing import Any

import click

from latentflow.commands._options import CONTEXT, config_options, report_options, show
from latentflow.commands._terminal import terminal_session
from latentflow.page.config import PageConfig


@click.command(
    context_settings=CONTEXT, short_help="Write a page in which the whole flow runs in a browser, nothing installed."
)
@config_options(PageConfig)
@report_options
def page(quiet: bool, as_json: bool, **values: Any) -> None:
    """Write a page in which the whole flow runs in a browser, with an autoencoder of your choice inside.

    The page takes pictures, follows the gradient on the machine of whoever opens it, and sends nothing anywhere. The
    command needs 'latentflow[page]', and a minute or two: the autoencoder is exported and compared with torch.

    \b
    Example: latentflow page --vae bundled --output_path flow.html
    """
    config = PageConfig(**values)
    with terminal_session(quiet=quiet) as session:
        from latentflow.page.run import write_page

        report = write_page(config, session)
    show(report, as_json)
