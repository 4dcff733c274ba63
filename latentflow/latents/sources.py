"""Latents that a user names: an image, a latent file, random:SEED; for a start also normal, uniform, zeros, encode.

Costs no torch until a latent is made, so that a wrong name is found before torch is imported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latentflow.config import NAMED_STARTS, ReadingOptions, counted, did_you_mean
from latentflow.errors import InputError
from latentflow.files import is_stream
from latentflow.latents.foreign import SUFFIXES
from latentflow.models.weight_files import PICKLES
from latentflow.pictures.files import check_image, cover, fit, to_tensor
from latentflow.pictures.reader import Reader

if TYPE_CHECKING:
    from torch import Tensor

    from latentflow.models.autoencoder import Autoencoder

RANDOM = re.compile(r"random:(\d{1,18})")
LATENT_SUFFIX = ".safetensors"  # of those that this program saves
EXAMPLE = "For example: examples/spheres.png random:7"


@dataclass(frozen=True, slots=True)
class Source:
    """One named latent: `seed` of a random one, else the `path` of an image or, with `is_saved`, of a saved latent;
    `latent_of` says whose that is if another program saved it."""

    text: str
    seed: int | None
    path: Path
    is_saved: bool
    latent_of: str | None = None

    @property
    def is_image(self) -> bool:
        """Whether it is the file of an image."""
        return self.seed is None and not self.is_saved

    @property
    def name(self) -> str:
        """What it is called in pictures and reports."""
        return self.text if self.seed is not None else self.path.stem

    def check(self, label: str = "The image", max_pixels: int = ReadingOptions.max_pixels) -> None:
        """Raise `InputError`, beginning with `label`, when its file is missing or not what it should be."""
        if self.is_image:
            check_image(self.path, label, max_pixels)
        elif self.is_saved:
            from latentflow.latents.files import check_saved

            check_saved(self.path, self.latent_of)

    def latent(
        self,
        autoencoder: Autoencoder,
        size: tuple[int, int],
        label: str = "The image",
        reader: Reader | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The latent (1, c, rows, columns) for a picture of `size` (height, width), and that picture (1, 3, height,
        width) where it is an image, cut to `size`.

        Noise is drawn on the CPU, so that a seed means the same on every device. Raises `InputError` for what can't be
        read, and for a latent of another size.
        """
        import torch

        shape = (1, *autoencoder.geometry.latent_shape(*size))
        if self.seed is not None:
            return torch.randn(shape, generator=torch.Generator().manual_seed(self.seed)).to(autoencoder.device), None
        if self.is_saved:
            from latentflow.latents.files import load_latent

            latent = load_latent(self.path, autoencoder, self.latent_of)
            if tuple(latent.shape) != shape:
                raise InputError(
                    f"The latent {self.text} has shape {tuple(latent.shape)}; {shape} is needed here.",
                    "Use the `size` and `fit` it was made with.",
                )
            return latent, None
        picture = cover((reader or Reader()).read(self.path, label), size[1], size[0])
        target = to_tensor(picture).to(autoencoder.device)
        with torch.no_grad():
            return autoencoder.encode(target), target


def parse_source(text: str, latent_of: str | None = None) -> Source:
    """What a text names; raises `InputError` for random: without a seed, and for a pickle."""
    seeded = RANDOM.fullmatch(text)
    if text.startswith("random:") and seeded is None:
        raise InputError(f"{text!r} is not a random latent.", "Write random:SEED, as in random:7.")
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:  # ~ of nobody
        raise InputError(f"{text} can't be found: {str(error).rstrip('.')}.") from error
    if path.suffix.lower() in PICKLES:
        raise InputError(f"{text} is a pickle, which could run code.", f"Convert it: latentflow weights convert {text}")
    saved = seeded is None and path.suffix.lower() in SUFFIXES
    return Source(text, None if seeded is None else int(seeded[1]), path, saved, latent_of)


@dataclass(frozen=True, slots=True)
class Anchors:
    """Named points of a latent space: `latents` is (n, c, rows, columns), `size` the height and width of their
    pictures; `targets` holds the picture (1, 3, height, width) of each that was an image."""

    names: list[str]
    latents: Tensor
    size: tuple[int, int]
    targets: list[Tensor | None]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        return zip(self.names, self.latents.split(1))


def check_anchors(
    sources: Sequence[str],
    least: int,
    most: int | None = None,
    *,
    latent_of: str | None = None,
    max_pixels: int = ReadingOptions.max_pixels,
) -> None:
    """Raise `InputError` unless there are at least `least` and at most `most` sources, each an image of at most
    `max_pixels`, a saved latent, or random:SEED."""
    if len(sources) < least or (most is not None and len(sources) > most):
        wanted = f"{least}" if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        given = f"{counted(len(sources), '', 'were')} given"
        raise InputError(f"{wanted} images, saved latents or random:SEED are wanted; {given}.", EXAMPLE)
    for source in sources:
        parse_source(source, latent_of).check(max_pixels=max_pixels)


def read_anchors(
    sources: Sequence[str],
    autoencoder: Autoencoder,
    size: int,
    mode: str = "contain",
    reader: Reader | None = None,
    *,
    latent_of: str | None = None,
) -> Anchors:
    """Encode, load or draw each source, all for one size of picture: the first image's, fitted as `fit` does it, else
    the first saved latent's, else a square of `size` pixels. Later images are cut to it. `reader` says what reading
    them changed; `latent_of` says whose latents of other programs are.

    Raises `InputError` for what can't be read, and for a latent of another size.
    """
    import torch

    parsed, reader = [parse_source(source, latent_of) for source in sources], reader or Reader()
    shape = _common_size(parsed, size, mode, autoencoder.stride, reader)
    read = [source.latent(autoencoder, shape, reader=reader) for source in parsed]
    reader.say_notes()
    latents, targets = [latent for latent, _ in read], [target for _, target in read]
    return Anchors([source.name for source in parsed], torch.cat(latents), shape, targets)


def _common_size(sources: Sequence[Source], size: int, mode: str, stride: int, reader: Reader) -> tuple[int, int]:
    """Height and width of the pictures."""
    from latentflow.latents.files import saved_size

    for source in sources:
        if source.is_image:
            image = fit(reader.read(source.path, "The image"), size, mode)
            return image.height, image.width
    found = (saved_size(source.path, stride) for source in sources if source.is_saved)
    return next((each for each in found if each), (size, size))


def check_initial(init: str, latent_of: str | None = None) -> None:
    """Raise `InputError` unless `init` is a named start, random:SEED, or the file of an image or of a latent;
    `latent_of` says whose another program's is."""
    if init in NAMED_STARTS:
        return
    source = parse_source(init, latent_of)
    try:
        there = source.seed is not None or source.path.is_file() or is_stream(source.path)
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        there = False
    if not there:
        raise InputError(
            f"`init` is one of {', '.join(NAMED_STARTS)}, random:SEED, an image or a saved latent; there is no file "
            f"{init!r}.",
            did_you_mean(init, NAMED_STARTS),
        )
    source = parse_source(init, latent_of)
    if source.is_saved:
        source.check()


def initial_latent(
    init: str,
    autoencoder: Autoencoder,
    target: Tensor,
    seed: int = 0,
    reader: Reader | None = None,
    *,
    latent_of: str | None = None,
) -> Tensor:
    """The latent (n, c, rows, columns) that a run towards a target (n, 3, h, w) in [0, 1] starts from.

    `init` is normal (N(0, 1)), uniform (U(−√3, √3), which has variance 1 too), zeros, encode (the encoder's latent of
    the target), or a source: an image, encoded at the target's size, a saved latent (another program's with
    `latent_of`), or random:SEED. Noise is drawn on the CPU, so that a seed means the same on every device. `reader`
    reads the image and says what that changed. Raises
    `InputError` for anything else.
    """
    import torch

    height, width = target.shape[-2:]
    shape = (len(target), *autoencoder.geometry.latent_shape(height, width))
    generator = torch.Generator().manual_seed(seed)
    if init == "normal":
        return torch.randn(shape, generator=generator).to(autoencoder.device)
    if init == "uniform":
        return ((torch.rand(shape, generator=generator) * 2 - 1) * math.sqrt(3)).to(autoencoder.device)
    if init == "zeros":
        return torch.zeros(shape, device=autoencoder.device)
    if init == "encode":
        with torch.no_grad():
            return autoencoder.encode(target)
    check_initial(init, latent_of)
    reader = reader or Reader()
    latent, _ = parse_source(init, latent_of).latent(autoencoder, (height, width), "`init`", reader)
    reader.say_notes()
    return latent.expand(shape).clone()
