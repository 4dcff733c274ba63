"""Pictures for training: from a folder or drawn, cut into crops by worker processes.

Every sample has a number, and its picture and its cut depend on that number and the seed alone. So the position in
the data is the number of the step: a resumed training sees what an uninterrupted one would, however many workers.
"""

import signal
from collections.abc import Generator, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from latentflow.errors import InputError
from latentflow.generated import picture
from latentflow.pictures.files import cover, image_files, read_image, resize

HELD_BACK = 32
SIDE = 256  # of generated pictures and of those that are held back
DRAWN_TOGETHER = 16
LARGEST_SIDE = 1024  # of the shorter side of a picture before it is cut


class Pictures(Protocol):
    """Where samples come from."""

    held_back: int

    def take(self, rng: np.random.Generator) -> tuple[Image.Image, list[Path]]:
        """Any picture, and the corrupt files passed over on the way."""
        ...

    def validation(self) -> Tensor:
        """The pictures that are never trained on, (n, 3, 256, 256) in [0, 1]."""
        ...


class Folder:
    """The images below a folder; every twentieth, at least one and at most 32, is held back for validation.

    Raises `InputError` when there are fewer than two images.
    """

    def __init__(self, path: Path, seed: int) -> None:
        found = image_files(path)
        if len(found) < 2:
            raise InputError(f"--data {path} holds {len(found)} images; at least two are needed, one is held back.")
        order = np.random.default_rng(seed).permutation(len(found))
        self.held_back = min(HELD_BACK, max(1, len(found) // 20))
        self.held = [found[index] for index in order[: self.held_back]]
        self.paths = [found[index] for index in order[self.held_back :]]

    def take(self, rng: np.random.Generator) -> tuple[Image.Image, list[Path]]:
        """Any picture that can be decoded, and those before it that can't be; raises `InputError` when none can."""
        first = int(rng.integers(len(self.paths)))
        turn = self.paths[first:] + self.paths[:first]
        for index, path in enumerate(turn):
            image = _decoded(path)
            if image is not None:
                return image, turn[:index]
        raise InputError("--data: none of the images can be decoded.")

    def validation(self) -> Tensor:
        """The held-back pictures that can be decoded, their centre squares."""
        images = [image for path in self.held if (image := _decoded(path)) is not None]
        images = images or [self.take(np.random.default_rng(0))[0]]
        return torch.cat([tensor(cover(image, SIDE, SIDE))[None] for image in images]).float() / 255


@lru_cache(maxsize=64)
def _decoded(path: Path) -> Image.Image | None:
    try:
        image = read_image(path, "--data").image
    except InputError:
        return None
    share = LARGEST_SIDE / min(image.size)
    return image if share >= 1 else resize(image, round(image.width * share), round(image.height * share))


class Generated:
    """Pictures drawn by `latentflow.generated`: `count` of them, held in memory, or, for 0, always new ones."""

    held_back = HELD_BACK

    def __init__(self, count: int, seed: int, workers: int, drawings: float = 0.25) -> None:
        self.drawings = drawings
        self.bank = torch.empty(count, 3, SIDE, SIDE, dtype=torch.uint8) if count else None
        if self.bank is not None:
            loader = DataLoader(
                _Drawn(seed, count, drawings),
                batch_size=DRAWN_TOGETHER,
                num_workers=workers,
                collate_fn=torch.stack,
                worker_init_fn=_unheeding,
            )
            for part, pictures in zip(self.bank.split(DRAWN_TOGETHER), loader):
                part.copy_(pictures)  # at once: what workers hand over holds a file descriptor

    def take(self, rng: np.random.Generator) -> tuple[Image.Image, list[Path]]:
        """Any picture of the bank, or one that was never drawn before; none of those held back."""
        if self.bank is None:
            return picture(int(rng.integers(2**40, 2**63)), SIDE, self.drawings), []
        return Image.fromarray(self.bank[int(rng.integers(len(self.bank)))].permute(1, 2, 0).numpy()), []

    def validation(self) -> Tensor:
        """The pictures of the first seeds, which no training uses."""
        return torch.stack([tensor(picture(seed, SIDE, self.drawings)) for seed in range(HELD_BACK)]).float() / 255


class _Drawn(Dataset[Tensor]):
    def __init__(self, seed: int, count: int, drawings: float) -> None:
        self.first, self.count, self.drawings = HELD_BACK + (seed % 2**20) * 2**20, count, drawings

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return tensor(picture(self.first + index, SIDE, self.drawings))


class Crops(Dataset[tuple[Tensor, list[Path]]]):
    """One crop for each sample number: (3, crop, crop) uint8, and the corrupt files that were passed over.

    Half of the crops show pixels as they are; the others are of any size up to the whole picture, scaled down.
    """

    def __init__(self, pictures: Pictures, crop: int, seed: int) -> None:
        self.pictures, self.crop, self.seed = pictures, crop, seed

    def __getitem__(self, number: int) -> tuple[Tensor, list[Path]]:
        rng = np.random.default_rng([self.seed, number])
        image, skipped = self.pictures.take(rng)
        largest = min(image.size)
        span = float(min(self.crop, largest))
        if rng.random() < 0.5:
            span = float(np.exp(rng.uniform(np.log(span), np.log(largest))))
        left, top = rng.uniform(0, image.width - span), rng.uniform(0, image.height - span)
        if span == self.crop:  # no resampling
            left, top = round(left), round(top)
        part = image.resize((self.crop, self.crop), Image.Resampling.LANCZOS, (left, top, left + span, top + span))
        patch = tensor(part)
        patch = patch.flip(-1) if rng.random() < 0.5 else patch
        return patch, skipped


def batches(
    crops: Crops, *, batch: int, first: int, last: int, process: int, processes: int, workers: int
) -> Generator[tuple[Tensor, set[Path]], None, None]:
    """The batches (batch, 3, crop, crop) uint8 of the steps from `first` to before `last` for one process of several,
    each with the corrupt files it met; closing it ends the workers."""
    numbers = _Numbers(batch, first, last, process, processes)
    loader: DataLoader[Any] = DataLoader(
        crops,
        batch_sampler=numbers,
        num_workers=workers,
        collate_fn=_collated,
        worker_init_fn=_unheeding,
        prefetch_factor=4 if workers else None,
    )
    yield from loader


def _unheeding(worker: int) -> None:
    """Ctrl-C goes to the whole process group; the main process ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Numbers:
    """Sample numbers, step by step: the processes' batches lie side by side."""

    def __init__(self, batch: int, first: int, last: int, process: int, processes: int) -> None:
        self.batch, self.first, self.last, self.process, self.processes = batch, first, last, process, processes

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first, self.last):
            begin = (step * self.processes + self.process) * self.batch
            yield list(range(begin, begin + self.batch))


def _collated(samples: Sequence[tuple[Tensor, list[Path]]]) -> tuple[Tensor, set[Path]]:
    return torch.stack([patch for patch, _ in samples]), {path for _, skipped in samples for path in skipped}


def tensor(image: Image.Image) -> Tensor:
    """A picture as (3, h, w) uint8."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()
