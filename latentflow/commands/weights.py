"""`latentflow weights`: which weights there are, where, and whether they are whole."""

from typing import TYPE_CHECKING

import click

from latentflow.commands.options import CONTEXT
from latentflow.config import DEFAULT_VAE
from latentflow.errors import WeightsError

if TYPE_CHECKING:
    from latentflow.weights import Resolved

_vae = click.option(
    "--vae",
    default=DEFAULT_VAE,
    show_default=True,
    metavar="NAME",
    help="A hub name repo[:subfolder][@revision], or bundled.",
)


@click.group(context_settings=CONTEXT)
def weights() -> None:
    """Show and prepare the weights of autoencoders: list, fetch, verify, path.

    \b
    Example: latentflow weights fetch
    """


@weights.command("list", context_settings=CONTEXT)
def list_() -> None:
    """List the weights this program can use by default, and where they are.

    \b
    Example: latentflow weights list
    """
    from latentflow.hub import cache_folder
    from latentflow.weights import bundled, present, vgg16_path

    errors = []
    for name, find in (("bundled", bundled), (DEFAULT_VAE, lambda: present(DEFAULT_VAE))):
        try:
            found = find()
            click.echo(f"{name}\t{found.path if found else f'not in the cache {cache_folder()}'}")
        except WeightsError as error:
            errors.append(error)
            click.echo(f"{name}\tcorrupt")
    path = vgg16_path()
    click.echo(f"VGG16 (figures of LPIPS)\t{path if path.exists() else f'not in the cache {path.parent}'}")
    if errors:
        raise errors[0]


@weights.command("fetch", context_settings=CONTEXT)
@_vae
def fetch_(vae: str) -> None:
    """Download an autoencoder into the cache, if it isn't there, and check its hash.

    \b
    Example: latentflow weights fetch --vae stabilityai/sd-vae-ft-mse
    """
    from latentflow.weights import fetch, present

    click.echo(str((present(vae) or fetch(vae, ask_again=True)).path))


@weights.command(context_settings=CONTEXT)
@_vae
def verify(vae: str) -> None:
    """Check the hash of weights that are on this machine, and print it.

    \b
    Example: latentflow weights verify --vae bundled
    """
    found = _present(vae)
    click.echo(f"{found.sha256}  {found.path}")


@weights.command(context_settings=CONTEXT)
@_vae
def path(vae: str) -> None:
    """Print where weights are on this machine.

    \b
    Example: latentflow weights path --vae bundled
    """
    click.echo(str(_present(vae).path))


def _present(vae: str) -> "Resolved":
    from latentflow.weights import present

    found = present(vae)
    if found is None:
        raise WeightsError(f"{vae} is not on this machine.", f"latentflow weights fetch --vae {vae}")
    return found
