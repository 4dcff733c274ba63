"""Images for training, from a folder or drawn, cut into crops by worker processes.

Every crop has a number, and depends on that number and the seed alone. So a resumed training sees the same crops as an
uninterrupted one, with any number of workers.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from operator import or_
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from latentflow.base.errors import InputError, LatentflowError
from latentflow.base.options import counted
from latentflow.generated import picture
from latentflow.pictures.config import ReadingOptions
from latentflow.pictures.files import Picture, cover, read_image, resize
from latentflow.pictures.folders import find_images
from latentflow.pictures.reader import Reader
from latentflow.training.provenance import Provenance, of_drawn, of_files

VALIDATION_IMAGES = 32  # at most
SIDE = 256  # of generated images and of validation images, in pixels
DRAWING_BATCH = 16
MAX_SHORTER_SIDE = 1024  # larger images are scaled down before they are cut
FIRST_NEW_SEED = 2**40  # of images drawn one by one; those of a fixed number of images are below


@dataclass(frozen=True, slots=True)
class Remarks:
    """Corrupt files that were `skipped`, and `notes` on what reading others changed."""

    skipped: frozenset[Path] = frozenset()
    notes: frozenset[tuple[Path, str]] = frozenset()

    def __or__(self, other: Remarks) -> Remarks:
        return Remarks(self.skipped | other.skipped, self.notes | other.notes)


class Pictures(Protocol):
    """A source of images; `validation_size` is the number of images that are never trained on."""

    validation_size: int

    def provenance(self) -> Provenance:
        """A description of the images, for a checkpoint."""
        ...

    def take(self, rng: np.random.Generator) -> tuple[Image.Image, Remarks]:
        """A random training image, and what there is to say of files that were read."""
        ...

    def validation(self) -> Tensor:
        """The validation images, (n, 3, 256, 256) in [0, 1]."""
        ...


class Folder:
    """The images below a folder; one in twenty, at least one and at most 32, is a validation image.

    `reader` reports skipped files, and the workers use its options. Raises `InputError` when there are fewer than two
    images.
    """

    def __init__(self, path: Path, seed: int, reader: Reader | None = None) -> None:
        listed, reader, self.path = find_images(path), reader or Reader(), path
        reader.say_once(listed.passed_over)
        found, self.options = listed.paths, reader.options
        if len(found) < 2:
            raise InputError(
                f"`data` {path} holds {counted(len(found), 'image')}; at least 2 are needed, 1 of them to validate."
            )
        order = np.random.default_rng(seed).permutation(len(found))
        self.validation_size = min(VALIDATION_IMAGES, max(1, len(found) // 20))
        self.validation_paths = [found[index] for index in order[: self.validation_size]]
        self.paths = [found[index] for index in order[self.validation_size :]]

    def provenance(self) -> Provenance:
        """The files, and which of them are held out."""
        return of_files(self.path, [*self.validation_paths, *self.paths], self.validation_paths)

    def take(self, rng: np.random.Generator) -> tuple[Image.Image, Remarks]:
        """A random training image, and what there is to say of files that were read; raises `InputError` when all are
        corrupt."""
        first = int(rng.integers(len(self.paths)))
        candidates = self.paths[first:] + self.paths[:first]
        for index, path in enumerate(candidates):
            picture = _decoded(path, self.options)
            if picture is not None:
                notes = frozenset((path, note) for note in picture.notes)
                return picture.image, Remarks(frozenset(candidates[:index]), notes)
        raise InputError("`data`: none of the images can be decoded.")

    def validation(self) -> Tensor:
        """The center squares of the validation images that can be decoded, (n, 3, 256, 256) in [0, 1]."""
        pictures = (_decoded(path, self.options) for path in self.validation_paths)
        images = [picture.image for picture in pictures if picture is not None]
        images = images or [self.take(np.random.default_rng(0))[0]]
        return torch.cat([to_bytes(cover(image, SIDE, SIDE))[None] for image in images]).float() / 255


@lru_cache(maxsize=64)
def _decoded(path: Path, options: ReadingOptions) -> Picture | None:
    try:
        picture = read_image(path, "`data`", background=options.background, max_pixels=options.max_pixels)
    except LatentflowError:
        return None
    image = picture.image
    scale = MAX_SHORTER_SIDE / min(image.size)
    if scale >= 1:
        return picture
    return replace(picture, image=resize(image, round(image.width * scale), round(image.height * scale)))


class Generated:
    """Images drawn by `latentflow.generated`: `count` of them, kept in memory, or with 0 a new one each time.

    `workers` processes draw them; `drawings` is the fraction of drawings, in [0, 1]. `check` is called while they are
    drawn and may raise an error to stop that.
    """

    validation_size = VALIDATION_IMAGES

    def __init__(
        self, count: int, seed: int, workers: int, drawings: float = 0.25, check: Callable[[], None] = lambda: None
    ) -> None:
        self.drawings = drawings
        self.images = torch.empty(count, 3, SIDE, SIDE, dtype=torch.uint8) if count else None
        if self.images is not None:
            loader = DataLoader(
                _Drawn(seed, count, drawings),
                batch_size=DRAWING_BATCH,
                num_workers=workers,
                collate_fn=torch.stack,
                worker_init_fn=_ignore_interrupts,
                generator=torch.Generator(),  # without one it draws from the random state of the process
            )
            for part, drawn in zip(self.images.split(DRAWING_BATCH), loader):
                check()
                part.copy_(drawn)  # at once, since a tensor of a worker holds a file descriptor

    def provenance(self) -> Provenance:
        """The code that draws them."""
        return of_drawn()

    def take(self, rng: np.random.Generator) -> tuple[Image.Image, Remarks]:
        """A random one of the images, or a new one; never a validation image."""
        if self.images is None:
            return picture(int(rng.integers(FIRST_NEW_SEED, 2**63)), SIDE, self.drawings), Remarks()
        return Image.fromarray(self.images[int(rng.integers(len(self.images)))].permute(1, 2, 0).numpy()), Remarks()

    def validation(self) -> Tensor:
        """The images of the seeds 0 to 31, (32, 3, 256, 256) in [0, 1]."""
        drawn = [to_bytes(picture(seed, SIDE, self.drawings)) for seed in range(VALIDATION_IMAGES)]
        return torch.stack(drawn).float() / 255


class _Drawn(Dataset[Tensor]):
    def __init__(self, seed: int, count: int, drawings: float) -> None:
        self.first, self.count, self.drawings = VALIDATION_IMAGES + (seed % 2**20) * 2**20, count, drawings

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return to_bytes(picture(self.first + index, SIDE, self.drawings))


class Crops(Dataset[tuple[Tensor, Remarks]]):
    """A crop for each number: (3, crop, crop) uint8, and what there is to say of its file.

    Half of the crops are not scaled; the others are of a random size up to the complete image, scaled down. Half are
    flipped.
    """

    def __init__(self, pictures: Pictures, crop: int, seed: int) -> None:
        self.pictures, self.crop, self.seed = pictures, crop, seed

    def __getitem__(self, number: int) -> tuple[Tensor, Remarks]:
        rng = np.random.default_rng([self.seed, number])
        image, remarks = self.pictures.take(rng)
        shorter = min(image.size)
        span = float(min(self.crop, shorter))
        if rng.random() < 0.5:
            span = min(float(shorter), float(np.exp(rng.uniform(np.log(span), np.log(shorter)))))  # exp(log(24)) > 24
        left, top = rng.uniform(0, image.width - span), rng.uniform(0, image.height - span)
        if span == self.crop:  # on whole pixels nothing is resampled
            left, top = round(left), round(top)
        part = image.resize((self.crop, self.crop), Image.Resampling.LANCZOS, (left, top, left + span, top + span))
        crop = to_bytes(part)
        crop = crop.flip(-1) if rng.random() < 0.5 else crop
        return crop, remarks


def batches(
    crops: Crops, *, batch: int, first: int, last: int, process: int, processes: int, workers: int
) -> Generator[tuple[Tensor, Remarks], None, None]:
    """The batches (batch, 3, crop, crop) uint8 of the steps from `first` to before `last`, for one process of several,
    each with what there is to say of its files; closing the generator ends the workers."""
    loader: DataLoader[Any] = DataLoader(
        crops,
        batch_sampler=_Numbers(batch, first, last, process, processes),
        num_workers=workers,
        collate_fn=_collated,
        worker_init_fn=_ignore_interrupts,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),
    )
    yield from loader


def _ignore_interrupts(worker: int) -> None:
    """Let a worker ignore Ctrl-C, which goes to all processes of a terminal; the main process ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Numbers:
    """The numbers of the crops of each step: those of the processes follow one another."""

    def __init__(self, batch: int, first: int, last: int, process: int, processes: int) -> None:
        self.batch, self.first, self.last, self.process, self.processes = batch, first, last, process, processes

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first, self.last):
            begin = (step * self.processes + self.process) * self.batch
            yield list(range(begin, begin + self.batch))


def _collated(samples: Sequence[tuple[Tensor, Remarks]]) -> tuple[Tensor, Remarks]:
    return torch.stack([crop for crop, _ in samples]), reduce(or_, (remarks for _, remarks in samples))


def to_bytes(image: Image.Image) -> Tensor:
    """An image as (3, h, w) uint8."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()
