"""Walks through prompts and noise, and the pictures of them that are there already."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from latentflow.base.errors import InputError, LatentflowError
from latentflow.base.files import write_file, writing
from latentflow.base.pixels import to_png, to_uint8
from latentflow.latents.paths import LatentPath, slerp
from latentflow.models.embeddings import Embeddings, mixed
from latentflow.prompts.pipelines import TextToImage
from latentflow.prompts.stops import Stop

IDENTITY = "pictures.json"
FORMAT = 2  # of the way between prompts: 1 changed at once what prompts of different lengths attend to
KEYS = {  # of an identity that are no options, in words
    "stops": "list of prompts, seeds or negative prompts",
    "notes": "set of notes",
    "threads": "number of threads",
    "torch": "version of torch",
    "diffusers": "version of diffusers",
    "format": "version of latentflow",
}
NAME = re.compile(r"\d{3}\.\d{8}\.png")  # of a picture, by its position


class PromptPath:
    """A path through stops: at position p in [0, segments] the noise, along arcs, and the embeddings, along lines or
    arcs, between two stops."""

    def __init__(
        self, model: TextToImage, stops: Sequence[Stop], size: int, *, embeddings: str = "lerp", loop: bool = False
    ) -> None:
        self.stops = list(stops)
        self.loop, self.segments = loop, len(stops) if loop else len(stops) - 1
        self._words = [model.encode(stop.prompt, stop.negative) for stop in stops]
        noises = torch.cat([model.noise(stop.seed, size) for stop in stops])
        self._noise = LatentPath(noises, loop=loop) if self.segments else None
        self._only = noises
        self._mix = slerp if embeddings == "slerp" else torch.lerp

    def noise(self, position: float) -> Tensor:
        """The noise (1, c, rows, columns) at a position."""
        return self._only if self._noise is None else self._noise(position)

    def embeddings(self, position: float) -> Embeddings:
        """The embeddings at a position, each with a first dimension of 1."""
        index = min(int(position), max(self.segments - 1, 0))
        one, two = self._words[index], self._words[(index + 1) % len(self._words)]
        return mixed(one, two, position - index, self._mix)

    def seed(self, position: float) -> int:
        """The seed of what a scheduler adds at every step: that of the stop before."""
        return self.stops[min(int(position), len(self.stops) - 1)].seed


class AnyPath(Protocol):
    """A path that pictures are made from: noise (1, c, rows, columns), embeddings and a seed at positions from 0 to
    `segments`."""

    loop: bool

    @property
    def segments(self) -> int: ...

    def noise(self, position: float) -> Tensor: ...

    def embeddings(self, position: float) -> Embeddings: ...

    def seed(self, position: float) -> int: ...


@dataclass(frozen=True, slots=True)
class Point:
    """A position on a path, and how far the noise is moved from there along directions, by their keys."""

    position: float
    moves: tuple[tuple[Any, float], ...] = ()


class PlayedPath:
    """Points around a path, by their number: notes move the noise at their positions."""

    loop = False

    def __init__(
        self, path: PromptPath, points: Sequence[Point], move: Callable[[Tensor, dict[Any, float]], Tensor]
    ) -> None:
        self.path, self.points, self.move = path, points, move
        self.segments = len(points)

    def noise(self, position: float) -> Tensor:
        """The noise (1, c, rows, columns) of a point."""
        point = self.points[int(position)]
        return self.move(self.path.noise(point.position), dict(point.moves))

    def embeddings(self, position: float) -> Embeddings:
        """The embeddings of a point."""
        return self.path.embeddings(self.points[int(position)].position)

    def seed(self, position: float) -> int:
        """The seed of what a scheduler adds at every step."""
        return self.path.seed(self.points[int(position)].position)


@dataclass(frozen=True, slots=True)
class Generation:
    """The settings that pictures of a path share: the arguments of a call of the pipeline besides words and noise.
    `start` are latents (1, c, rows, columns) of a picture; only the last `strength` of their denoising is done."""

    steps: int | None
    guidance: float | None
    batch_size: int
    start: Tensor | None = None
    strength: float = 1.0


def pictures_of(folder: Path) -> dict[str, Any] | None:
    """The identity of the walk that made the pictures in a folder, or None."""
    try:
        content = json.loads((folder / IDENTITY).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and {"stops", "model"} <= set(content) else None


class Pictures:
    """The pictures of a path in a folder, by their position; each is made once, complete or absent. Files that no walk
    has made are left where they are, unless a picture needs the name."""

    def __init__(self, folder: Path, model: TextToImage, path: AnyPath, how: Generation) -> None:
        self.folder, self.model, self.path, self.how = folder, model, path, how
        self.made: set[str] = set()  # names of the pictures that are there

    def begin(self, identity: dict[str, Any], earlier: Collection[str] = (), *, resume: bool) -> int:
        """Make the folder, or take the one that is there, and return how many pictures it has. Unused pictures of a
        walk are removed: the `earlier` ones, and where a walk has left its name, all with names of its kind. Raises
        `InputError` when the pictures there have different options."""
        before = pictures_of(self.folder)
        there = [] if before is None else self.folder.glob("*.png")
        left = {each.name for each in there if NAME.fullmatch(each.name)}
        if resume and before is not None:
            changed = [KEYS.get(name, f"`{name}`") for name in identity if before.get(name) != identity[name]]
            if changed:
                raise InputError(
                    f"The pictures in {self.folder} were made with a different {', '.join(changed)}.",
                    "Use the same options, or leave out `resume`.",
                )
            self.made = left
            return len(left)
        with writing(self.folder, "`output_path`"):
            self.folder.mkdir(exist_ok=True)
            for name in left | {each for each in earlier if NAME.fullmatch(each)}:
                (self.folder / name).unlink(missing_ok=True)
        write_file(self.folder / IDENTITY, (json.dumps(identity, indent=2) + "\n").encode(), "`output_path`")
        return 0

    def file(self, position: float) -> Path:
        """Return the path of the picture at a position; the end of a loop is its beginning."""
        if self.path.loop and position == self.path.segments:
            position = 0.0
        return self.folder / f"{position:012.8f}.png"

    def has(self, position: float) -> bool:
        """Tell whether the picture at a position is there."""
        return self.file(position).name in self.made and self.file(position).is_file()

    def make(self, positions: Sequence[float]) -> int:
        """Generate those of the pictures that are missing, together, and return how many were. A group that is smaller
        than the batch is filled up: pictures depend a little on how many are computed together."""
        missing = list({self.file(position): position for position in positions if not self.has(position)}.values())
        if not missing:
            return 0
        group = [*missing, *[missing[-1]] * (self.how.batch_size - len(missing))]
        words = [self.path.embeddings(position) for position in group]
        images = self.model.generate(
            torch.cat([self.path.noise(position) for position in group]),
            {name: torch.cat([each[name] for each in words]) for name in words[0]},
            steps=self.how.steps,
            guidance=self.how.guidance,
            start=self.how.start,
            strength=self.how.strength,
            seeds=[self.path.seed(position) for position in group],
        )
        for position, image in zip(missing, images):
            write_file(self.file(position), to_png(to_uint8(image[None])), "`output_path`")
            self.made.add(self.file(position).name)
        return len(missing)

    def pixels(self, position: float) -> np.ndarray:
        """The picture (h, w, 3) uint8 at a position; raises `InputError` when it can't be read."""
        from PIL import Image

        try:
            with Image.open(self.file(position)) as image:
                return np.asarray(image.convert("RGB"))
        except OSError as error:
            raise InputError(f"{self.file(position)} can't be read.", "Remove it, and use `resume`.") from error

    def image(self, position: float) -> Tensor:
        """The picture (1, 3, h, w) in [0, 1] at a position."""
        return torch.from_numpy(self.pixels(position).copy()).permute(2, 0, 1)[None] / 255

    def difference(self, one: float, two: float) -> float:
        """By how much the pictures at two positions differ, RMS in gray levels."""
        first, last = self.pixels(one).astype(np.float32), self.pixels(two).astype(np.float32)
        return float(np.sqrt(np.square(first - last).mean()))


def evenly(count: int, segments: int, *, loop: bool) -> list[float]:
    """Positions of `count` frames at equal distances; a loop's leave out the end, where the first comes again."""
    last = count if loop else max(count - 1, 1)
    return [round(segments * index / last, 8) for index in range(count)]


def bisect(
    pictures: Pictures,
    stops: Sequence[float],
    count: int,
    *,
    budget_seconds: float | None = None,
    check: Callable[[], None] = lambda: None,
) -> Iterator[list[float]]:
    """Positions of pictures that change evenly: those of the `stops`, ascending, then again and again the middle of the
    widest gaps, as wide as the pictures beside them differ (RMS), until there are `count` or the time is over.

    Yields all positions so far, ascending, after each group of pictures.
    """
    began, batch = time.monotonic(), pictures.how.batch_size
    positions = list(stops)
    for first in range(0, len(positions), batch):
        check()
        pictures.make(positions[first : first + batch])
        yield positions[: first + batch]
    width = cache(pictures.difference)  # each gap is measured once
    while len(positions) < count:
        check()
        if budget_seconds is not None and time.monotonic() - began > budget_seconds:
            return
        beside = sorted(pairwise(positions), key=lambda pair: (-width(*pair), pair))
        middles = [round((one + two) / 2, 8) for one, two in beside[: min(batch, count - len(positions))]]
        if any(middle in positions for middle in middles):
            raise LatentflowError("The pictures are as close as positions can be told apart; fewer frames will do.")
        pictures.make(middles)
        positions = sorted([*positions, *middles])
        yield positions
