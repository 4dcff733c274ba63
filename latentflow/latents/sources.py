"""Latents that a user names: an image, a latent file, random:SEED; for a start also normal, uniform, zeros, encode.

Costs no torch until a latent is made, so that a wrong name is found before torch is imported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from latentflow.base.errors import InputError
from latentflow.base.files import is_stream
from latentflow.base.options import MAX_SEED, counted, did_you_mean, parse_seed
from latentflow.base.surroundings import undisturbed
from latentflow.latents.config import NAMED_STARTS
from latentflow.latents.foreign import SUFFIXES
from latentflow.models.weight_files import PICKLES
from latentflow.pictures.config import ReadingOptions
from latentflow.pictures.files import check_image, cover, fit, to_tensor
from latentflow.pictures.reader import Reader

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

    from latentflow.models.autoencoder import Autoencoder

AnchorLike: TypeAlias = "str | PathLike[str] | Image.Image | Tensor | np.ndarray"  # what a caller names or has
RANDOM = "random:"
LATENT_SUFFIX = ".safetensors"  # of latents that this program saves
EXAMPLE = "For example: examples/spheres.png random:7"


@dataclass(frozen=True, slots=True)
class Source:
    """One named latent: `seed` of a random one, else the `path` of an image or, with `is_saved`, of a saved latent;
    `latent_of` names its autoencoder and units if another program saved it."""

    text: str
    seed: int | None
    path: Path
    is_saved: bool
    latent_of: str | None = None

    @property
    def is_image(self) -> bool:
        """True for the file of an image."""
        return self.seed is None and not self.is_saved

    @property
    def name(self) -> str:
        """The name of the source in pictures and reports."""
        return self.text if self.seed is not None else self.path.stem

    def read(self, reader: Reader, label: str = "The image") -> Image.Image:
        """The picture of its file."""
        return reader.read(self.path, label)

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

        Noise is drawn on the CPU, so that a seed means the same on every device. Raises `InputError` for an unreadable
        file, and for a latent of a different size.
        """
        import torch

        shape = (1, *autoencoder.geometry.latent_shape(*size))
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed)
            return torch.randn(shape, generator=generator, dtype=torch.float32).to(autoencoder.device), None
        if self.is_saved:
            from latentflow.latents.files import load_latent

            latent = load_latent(self.path, autoencoder, self.latent_of)
            if tuple(latent.shape) != shape:
                raise InputError(
                    f"The latent {self.text} has shape {tuple(latent.shape)}; {shape} is needed here.",
                    "Use the `size` and `fit` it was made with.",
                )
            return latent, None
        picture = cover(self.read(reader or Reader(), label), size[1], size[0])
        target = to_tensor(picture).to(autoencoder.device)
        with torch.no_grad():
            return autoencoder.encode(target), target


@dataclass(frozen=True, slots=True)
class InMemory:
    """A picture or a latent that a caller has, as a source: `value` is a PIL picture, or a tensor or array
    (c, rows, columns) or (1, c, rows, columns)."""

    value: Any
    name: str
    is_saved: ClassVar[bool] = False

    @property
    def is_image(self) -> bool:
        """True for a picture."""
        return not hasattr(self.value, "shape")

    def check(self, label: str = "The image", max_pixels: int = ReadingOptions.max_pixels) -> None:
        """Raise `InputError` when it is a picture of more than `max_pixels`, or a latent of a different shape."""
        if self.is_image:
            pixels = self.value.width * self.value.height
            if pixels > max_pixels:
                raise InputError(f"{self.name} has {pixels} pixels; `max_pixels` is {max_pixels}.")
        elif len(self._shape) != 4 or self._shape[0] != 1:
            raise InputError(
                f"{self.name} has the shape {tuple(self.value.shape)}; a latent is (c, rows, columns) or "
                "(1, c, rows, columns).",
                "Name the latents of a batch one by one, as in `[*latents]`.",
            )

    @property
    def _shape(self) -> tuple[int, ...]:
        shape = tuple(self.value.shape)
        return (1, *shape) if len(shape) == 3 else shape

    def size(self, stride: int) -> tuple[int, int]:
        """Height and width of a latent's picture."""
        return self._shape[-2] * stride, self._shape[-1] * stride

    def read(self, reader: Reader, label: str = "The image") -> Image.Image:
        """The picture, as it is read from a file."""
        return reader.standardize(self.value, self.name)

    def latent(
        self, autoencoder: Autoencoder, size: tuple[int, int], label: str = "The image", reader: Reader | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The latent (1, c, rows, columns) for a picture of `size`, and that picture, as `Source.latent` has them."""
        import torch

        if self.is_image:
            target = to_tensor(cover(self.read(reader or Reader()), size[1], size[0])).to(autoencoder.device)
            with torch.no_grad():
                return autoencoder.encode(target), target
        latent = torch.as_tensor(self.value).detach().to(autoencoder.device, torch.float32).reshape(self._shape)
        wanted = (1, *autoencoder.geometry.latent_shape(*size))
        if self._shape != wanted:
            raise InputError(
                f"{self.name} has the shape {tuple(self.value.shape)}; {wanted} is needed here, of {autoencoder.name}.",
                "Pictures are given as PIL pictures or paths; tensors and arrays are latents.",
            )
        if not latent.isfinite().all():
            raise InputError(f"{self.name} has values that are not finite.")
        return latent.clone(), None


AnySource: TypeAlias = Source | InMemory


def as_source(given: AnchorLike, place: int, latent_of: str | None = None) -> AnySource:
    """Return the source that a caller names or hands in, at a `place` counted from 1; raises `InputError` for anything
    else."""
    if isinstance(given, str | PathLike):
        return parse_source(str(given), latent_of)
    if hasattr(given, "shape") and hasattr(given, "dtype"):
        return InMemory(given, f"latent {place}")
    if hasattr(given, "convert") and hasattr(given, "width"):
        return InMemory(given, f"picture {place}")
    raise InputError(
        f"An image, a latent or random:SEED is wanted, not {type(given).__name__}.",
        "Name a file, or give a PIL picture, or a latent as a tensor or an array.",
    )


def as_sources(given: Sequence[AnchorLike], latent_of: str | None = None) -> list[AnySource]:
    """Return the sources that a caller names or hands in; raises `InputError` as `as_source` does."""
    return [as_source(each, place, latent_of) for place, each in enumerate(given, 1)]


def latents_in_memory(given: Sequence[AnchorLike]) -> list[InMemory]:
    """The sources that are latents in memory."""
    return [each for each in as_sources(given) if isinstance(each, InMemory) and not each.is_image]


def parse_source(text: str, latent_of: str | None = None) -> Source:
    """Return the source that a text names; raises `InputError` for random: without a seed, and for a pickle."""
    seed = parse_seed(text.removeprefix(RANDOM)) if text.startswith(RANDOM) else None
    if text.startswith(RANDOM) and seed is None:
        raise InputError(
            f"{text!r} is not a random latent: a seed is a whole number from 0 to {MAX_SEED}.",
            "Write random:SEED, as in random:7.",
        )
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:  # ~ of nobody
        raise InputError(f"{text} can't be found: {str(error).rstrip('.')}.") from error
    if path.suffix.lower() in PICKLES:
        raise InputError(f"{text} is a pickle, which could run code.", f"Convert it: latentflow weights convert {text}")
    saved = seed is None and path.suffix.lower() in SUFFIXES
    return Source(text, seed, path, saved, latent_of)


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
    sources: Sequence[AnchorLike],
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
    parsed = as_sources(sources, latent_of)
    for source in parsed:
        source.check(max_pixels=max_pixels)
    check_latent_of(parsed, latent_of)


def check_latent_of(sources: Sequence[AnySource], latent_of: str | None) -> None:
    """Raise `InputError` for a `latent_of` without effect: when none of the sources is a latent of another program."""
    from latentflow.latents.foreign import look_into

    if latent_of is not None and all(
        not isinstance(each, Source) or not each.is_saved or look_into(each.path).is_ours for each in sources
    ):
        raise InputError(
            f"`latent_of` {latent_of} would have no effect: no latent that another program saved is given.",
            "Leave it out.",
        )


@undisturbed
def read_anchors(
    sources: Sequence[AnchorLike],
    autoencoder: Autoencoder,
    size: int,
    mode: str = "contain",
    reader: Reader | None = None,
    *,
    latent_of: str | None = None,
) -> Anchors:
    """Encode, load or draw each source: a path, random:SEED, a PIL picture, or a latent, which is a tensor or an array
    (c, rows, columns) or (1, c, rows, columns).

    All are for one size of picture: that of the first latent in memory, else the first image's, fitted as `fit` does
    it, else the first saved latent's, else a square of `size` pixels. Other images are cut to it. `reader` says what
    reading them changed; `latent_of` gives autoencoder and units of latents that other programs saved.

    Raises `InputError` for an unreadable file, and for a latent of a different size.
    """
    import torch

    parsed, reader = as_sources(sources, latent_of), reader or Reader()
    shape = _common_size(parsed, size, mode, autoencoder.stride, reader)
    read = [source.latent(autoencoder, shape, reader=reader) for source in parsed]
    reader.say_notes()
    latents, targets = [latent for latent, _ in read], [target for _, target in read]
    return Anchors([source.name for source in parsed], torch.cat(latents), shape, targets)


def _common_size(sources: Sequence[AnySource], size: int, mode: str, stride: int, reader: Reader) -> tuple[int, int]:
    """Height and width of the pictures."""
    from latentflow.latents.files import saved_size

    for latent in sources:
        if isinstance(latent, InMemory) and not latent.is_image:
            latent.check()
            return latent.size(stride)
    for source in sources:
        if source.is_image:
            image = fit(source.read(reader), size, mode)
            return image.height, image.width
    saved = (source for source in sources if isinstance(source, Source) and source.is_saved)
    found = (saved_size(source.path, stride) for source in saved)
    return next((each for each in found if each), (size, size))


def check_initial(init: str, latent_of: str | None = None) -> None:
    """Raise `InputError` unless `init` is a named start, random:SEED, or the file of an image or of a latent;
    `latent_of` gives autoencoder and units of another program's latent."""
    source = parse_source(init, latent_of)
    if init in NAMED_STARTS:
        check_latent_of([], latent_of)
        return
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
    if source.is_saved:
        source.check()
    check_latent_of([source], latent_of)


@undisturbed
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
        return torch.randn(shape, generator=generator, dtype=torch.float32).to(autoencoder.device)
    if init == "uniform":
        evenly = torch.rand(shape, generator=generator, dtype=torch.float32)
        return ((evenly * 2 - 1) * math.sqrt(3)).to(autoencoder.device)
    if init == "zeros":
        return torch.zeros(shape, device=autoencoder.device, dtype=torch.float32)
    if init == "encode":
        with torch.no_grad():
            return autoencoder.encode(target)
    check_initial(init, latent_of)
    reader = reader or Reader()
    latent, _ = parse_source(init, latent_of).latent(autoencoder, (height, width), "`init`", reader)
    reader.say_notes()
    return latent.expand(shape).clone()


def initial_latents(
    init: str | Tensor | np.ndarray,
    autoencoder: Autoencoder,
    target: Tensor,
    seeds: Sequence[int],
    reader: Reader | None = None,
    *,
    latent_of: str | None = None,
) -> Tensor:
    """The latents (n, c, rows, columns) that runs towards the images of a target (n, 3, h, w) start from, each with its
    seed as `initial_latent` draws it; or the latents that are given."""
    import torch

    if not isinstance(init, str):
        return given_latents(init, autoencoder, target)
    each = zip(target.split(1), seeds, strict=True)
    return torch.cat([initial_latent(init, autoencoder, one, seed, reader, latent_of=latent_of) for one, seed in each])


def given_latents(init: Any, autoencoder: Autoencoder, target: Tensor) -> Tensor:
    """A caller's tensor or array as the latents (n, c, rows, columns) of a target (n, 3, h, w): one for each image, or
    one for all. Raises `InputError` for another type or shape, and for values that are not finite."""
    import numpy as np
    import torch

    if isinstance(init, np.ndarray):
        init = torch.from_numpy(init)
    if not isinstance(init, torch.Tensor):
        raise InputError(f"`init` is a name, a path, a tensor or an array, not {type(init).__name__}.")
    one = autoencoder.geometry.latent_shape(target.shape[-2], target.shape[-1])
    latent = init[None] if init.ndim == 3 else init
    if latent.ndim != 4 or tuple(latent.shape[1:]) != one or len(latent) not in (1, len(target)):
        shape = (len(target), *one)
        raise InputError(f"`init` has the shape {tuple(init.shape)}; {autoencoder.name} needs {shape} here.")
    if not latent.isfinite().all():
        raise InputError("`init` has values that are not finite.")
    latent = latent.detach().to(autoencoder.device, torch.float32)
    return latent.expand(len(target), *one).clone()
