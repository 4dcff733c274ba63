"""Points of a latent space that a user names: images, saved latents, random ones."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from latentflow.errors import InputError
from latentflow.latents.files import load_latent, saved_notes, saved_size
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.files import check_image, cover, fit, read_image, to_tensor

RANDOM = re.compile(r"random:(\d{1,18})$")
LATENT = ".safetensors"


@dataclass(frozen=True, slots=True)
class Anchors:
    """Points with names: `latents` is (n, c, rows, columns), `size` the height and width of their pictures; `targets`
    holds the picture (1, 3, height, width) of each that was an image."""

    names: list[str]
    latents: Tensor
    size: tuple[int, int]
    targets: list[Tensor | None]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        return zip(self.names, self.latents.split(1))


def check_anchors(sources: Sequence[str], least: int, most: int | None = None) -> None:
    """Raise `InputError` unless each of so many sources is an image, a saved latent, or random:SEED."""
    if len(sources) < least or (most is not None and len(sources) > most):
        wanted = f"{least}" if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        raise InputError(
            f"{wanted} images, saved latents or random:SEED are wanted; {len(sources)} were given.",
            "For example: examples/spheres.png random:7",
        )
    for source in sources:
        path = Path(source).expanduser()
        if source.startswith("random:"):
            if not RANDOM.match(source):
                raise InputError(f"{source!r} is no random latent.", "Write random:SEED, as in random:7.")
        elif path.suffix == LATENT:
            if not path.is_file():
                raise InputError(f"The latent {source} does not exist.")
            if "held_out" in saved_notes(path):
                raise InputError(
                    f"{source} is a direction, not the latent of a picture.", "concept --direction takes it."
                )
        else:
            check_image(path, "The image")


def read_anchors(sources: Sequence[str], autoencoder: Autoencoder, size: int, mode: str = "contain") -> Anchors:
    """Encode, load or draw each source, all for one size of picture: the first image's, fitted as `fit` does it, else
    the first saved latent's, else a square. Later images are cut to it.

    Noise is drawn on the CPU. Raises `InputError` for what can't be read, and for a latent of another size.
    """
    import torch

    shape = _shape(sources, size, mode)
    height, width = shape
    wanted = autoencoder.geometry.latent_shape(*shape)
    latents: list[Tensor] = []
    targets: list[Tensor | None] = []
    for source in sources:
        target = None
        found = RANDOM.match(source)
        if found:
            generator = torch.Generator().manual_seed(int(found[1]))
            latent = torch.randn(1, *wanted, generator=generator).to(autoencoder.device)
        elif Path(source).suffix == LATENT:
            latent = load_latent(Path(source).expanduser(), autoencoder)
            if tuple(latent.shape) != (1, *wanted):
                raise InputError(
                    f"The latent {source} has shape {tuple(latent.shape)}; {(1, *wanted)} is wanted here.",
                    "All points must be of pictures of one size.",
                )
        else:
            image = cover(read_image(Path(source).expanduser(), "The image").image, width, height)
            target = to_tensor(image).to(autoencoder.device)
            with torch.no_grad():
                latent = autoencoder.encode(target)
        latents.append(latent)
        targets.append(target)
    names = [source if RANDOM.match(source) else Path(source).stem for source in sources]
    return Anchors(names, torch.cat(latents), shape, targets)


def _shape(sources: Sequence[str], size: int, mode: str) -> tuple[int, int]:
    """Height and width of the pictures."""
    others = [source for source in sources if not RANDOM.match(source)]
    for source in others:
        if Path(source).suffix != LATENT:
            image = fit(read_image(Path(source).expanduser(), "The image").image, size, mode)
            return image.height, image.width
    for source in others:
        found = saved_size(Path(source).expanduser())
        if found:
            return found
    return size, size
