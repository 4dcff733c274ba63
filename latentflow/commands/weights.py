"""`latentflow weights`: list, download, check, describe and convert weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from latentflow.base.errors import WeightsError, as_options
from latentflow.commands._options import CONTEXT
from latentflow.models.config import DEFAULT_VAE

if TYPE_CHECKING:
    from latentflow.models.weights import Checkpoint, FoundWeights

_vae = click.option(
    "--vae",
    default=DEFAULT_VAE,
    show_default=True,
    metavar="NAME",
    help="Hub name repo[:subfolder][@revision], folder or .safetensors file of an autoencoder, or bundled.",
)
NETWORKS = {
    "vgg16": "VGG16, for the losses vgg and lpips",
    "alexnet": "AlexNet, for LPIPS in evaluate",
    "inception": "InceptionV3, for rFID in evaluate",
}
_Command = TypeVar("_Command", bound=Callable[..., Any])


def _network(function: _Command) -> _Command:
    """Flags that choose a network instead of an autoencoder."""
    for name, text in reversed(NETWORKS.items()):
        help_text = f"{text}, instead of an autoencoder."
        function = click.option(f"--{name}", "network", flag_value=name, help=help_text)(function)
    return function


def _checkpoint(network: str) -> "Checkpoint":
    from latentflow.models.weights import ALEXNET, INCEPTION, VGG16

    return {"vgg16": VGG16, "alexnet": ALEXNET, "inception": INCEPTION}[network]


@click.group(context_settings=CONTEXT, short_help="List, fetch, verify, inspect and convert weights.")
def weights() -> None:
    """List, download, check, describe and convert the weights of autoencoders, and of the networks of losses.

    \b
    Example: latentflow weights fetch
    """


@weights.command("list", context_settings=CONTEXT)
def list_() -> None:
    """List the weights that are used by default, and their paths.

    \b
    Example: latentflow weights list
    """
    from latentflow.models.hub import cache_folder
    from latentflow.models.weights import bundled, present

    errors = []
    for name, find in (("bundled", bundled), (DEFAULT_VAE, lambda: present(DEFAULT_VAE))):
        try:
            found = find()
            click.echo(f"{name}\t{found.path if found else f'not in the cache {cache_folder()}'}")
        except WeightsError as error:
            errors.append(error)
            click.echo(f"{name}\tcorrupt")
    for network, text in NETWORKS.items():
        path = _checkpoint(network).path
        click.echo(f"{text}\t{path if path.exists() else f'not in the cache {path.parent}'}")
    if errors:
        raise errors[0]


@weights.command("fetch", context_settings=CONTEXT, short_help="Download weights, if they are missing.")
@_vae
@_network
def fetch_(vae: str, network: str | None) -> None:
    """Download an autoencoder or a network into the cache unless it is there, check its SHA-256 and print its path.

    \b
    Example: latentflow weights fetch --vae stabilityai/sd-vae-ft-mse
    """
    from latentflow.models.weights import fetch, present

    if network:
        wanted = _checkpoint(network)
        problem = "" if wanted.path.exists() else wanted.fetch(ask_again=True)
        if problem:
            raise WeightsError(f"{wanted.name} can't be downloaded to {wanted.path}: {problem}.")
        wanted.verify()
        click.echo(str(wanted.path))
        return
    click.echo(str((present(vae) or fetch(vae, ask_again=True)).path))


@weights.command(context_settings=CONTEXT, short_help="Check the SHA-256 of weights.")
@_vae
@_network
def verify(vae: str, network: str | None) -> None:
    """Check the SHA-256 of weights on this machine, and print it with their path.

    \b
    Example: latentflow weights verify --vae bundled
    """
    if network:
        path = _network_present(network)
        click.echo(f"{_checkpoint(network).verify()}  {path}")
        return
    found = _present(vae)
    click.echo(f"{found.sha256}  {found.path}")


@weights.command(context_settings=CONTEXT)
@_vae
@_network
def path(vae: str, network: str | None) -> None:
    """Print the path of weights on this machine.

    \b
    Example: latentflow weights path --vae bundled
    """
    click.echo(str(_network_present(network) if network else _present(vae).path))


@weights.command(context_settings=CONTEXT, short_help="Say what a file of weights is.")
@click.argument("vae", metavar="FILE|FOLDER")
@click.option("--vae_config", metavar="NAME", help="Its scale and shift, as for a run.")
def inspect(vae: str, vae_config: str | None) -> None:
    """Say what autoencoder a file or a folder holds: its class, channels, stride, scale, dtype, number of parameters,
    the naming scheme of its tensors, and whether all values are finite. Hub names work as well, and bundled.

    \b
    Example: latentflow weights inspect ae.safetensors
    """
    from latentflow.models.layouts import described
    from latentflow.models.weight_files import weight_files
    from latentflow.models.weights import layout_of

    found = replace(_present(vae), vae_config=vae_config)
    try:
        layout = layout_of(found)
    except WeightsError as error:  # of a class that isn't served: its header tells something even so
        layout = described(found.path, weight_files(found.path), str(error))
    for title, text in {"path": str(found.path), "sha256": found.sha256, **layout.facts()}.items():
        click.echo(f"{title:<10}  {as_options(text)}")
    if layout.problem:
        click.echo(f"\n{as_options(layout.problem)}")


@weights.command(context_settings=CONTEXT, short_help="Write pickled weights as .safetensors.")
@click.argument("file", metavar="FILE")
def convert(file: str) -> None:
    """Write what torch pickled (.ckpt, .pt, .pth, .bin) beside it as .safetensors, and print the path of that.

    The pickle is read with weights_only=True: a file that needs more than tensors is refused.

    \b
    Example: latentflow weights convert taesd_decoder.pth
    """
    from latentflow.models.pickles import convert

    click.echo(str(convert(Path(file).expanduser())))


def _network_present(network: str) -> Path:
    wanted = _checkpoint(network)
    if not wanted.path.exists():
        raise WeightsError(
            f"{wanted.name} is not on this machine ({wanted.path}).", f"latentflow weights fetch --{network}"
        )
    return wanted.path


def _present(vae: str) -> "FoundWeights":
    from latentflow.models.weights import present

    found = present(vae)
    if found is None:
        raise WeightsError(f"{vae} is not on this machine.", f"latentflow weights fetch --vae {vae}")
    return found
