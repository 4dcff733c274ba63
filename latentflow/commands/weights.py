"""`latentflow weights`: which weights there are, where, and whether they are whole."""

from pathlib import Path
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
_vgg16 = click.option("--vgg16", is_flag=True, help="The VGG16 behind the losses vgg and lpips, instead.")


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
    click.echo(f"VGG16 (vgg, lpips)\t{path if path.exists() else f'not in the cache {path.parent}'}")
    if errors:
        raise errors[0]


@weights.command("fetch", context_settings=CONTEXT)
@_vae
@_vgg16
def fetch_(vae: str, vgg16: bool) -> None:
    """Download an autoencoder, or VGG16, into the cache, if it isn't there, and check its hash.

    \b
    Example: latentflow weights fetch --vae stabilityai/sd-vae-ft-mse
    """
    from latentflow.weights import fetch, fetch_vgg16, present, verify_vgg16, vgg16_path

    if vgg16:
        problem = "" if vgg16_path().exists() else fetch_vgg16(ask_again=True)
        if problem:
            raise WeightsError(f"VGG16 can't be downloaded to {vgg16_path()}: {problem}.")
        verify_vgg16()
        click.echo(str(vgg16_path()))
        return
    click.echo(str((present(vae) or fetch(vae, ask_again=True)).path))


@weights.command(context_settings=CONTEXT)
@_vae
@_vgg16
def verify(vae: str, vgg16: bool) -> None:
    """Check the hash of weights that are on this machine, and print it.

    \b
    Example: latentflow weights verify --vae bundled
    """
    if vgg16:
        from latentflow.weights import verify_vgg16

        click.echo(f"{verify_vgg16()}  {_vgg16_present()}")
        return
    found = _present(vae)
    click.echo(f"{found.sha256}  {found.path}")


@weights.command(context_settings=CONTEXT)
@_vae
@_vgg16
def path(vae: str, vgg16: bool) -> None:
    """Print where weights are on this machine.

    \b
    Example: latentflow weights path --vae bundled
    """
    click.echo(str(_vgg16_present() if vgg16 else _present(vae).path))


def _vgg16_present() -> Path:
    from latentflow.weights import vgg16_path

    if not vgg16_path().exists():
        raise WeightsError(f"VGG16 is not on this machine ({vgg16_path()}).", "latentflow weights fetch --vgg16")
    return vgg16_path()


def _present(vae: str) -> "Resolved":
    from latentflow.weights import present

    found = present(vae)
    if found is None:
        raise WeightsError(f"{vae} is not on this machine.", f"latentflow weights fetch --vae {vae}")
    return found
