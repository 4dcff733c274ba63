"""The reader of one command: its options for images, and its notes on them, grouped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image

from latentflow.pictures.config import ReadingOptions
from latentflow.pictures.files import read_image, standardized

DETAILS = re.compile(r" \([^()]*\)$")  # of a note, which images of one group may not share


class Notes:
    """Notes on what reading changed, by image."""

    def __init__(self) -> None:
        self._images: dict[str, dict[str, str]] = {}  # kind of note → image → note

    def add(self, image: str | Path, notes: Iterable[str]) -> None:
        """Note what reading an image changed; again is the same as once."""
        for note in notes:
            self._images.setdefault(DETAILS.sub("", note), {})[str(image)] = note

    def of(self, image: str | Path) -> list[str]:
        """The notes on one image."""
        return [images[str(image)] for images in self._images.values() if str(image) in images]

    def sentences(self) -> list[str]:
        """A sentence for each kind of note, whatever the number of images."""
        return [_sentence(kind, images) for kind, images in sorted(self._images.items())]


def _sentence(kind: str, images: dict[str, str]) -> str:
    first, notes = min(images), set(images.values())
    subject = first if len(images) == 1 else f"{len(images)} images, such as {first}"
    return f"{subject}: {notes.pop() if len(notes) == 1 else kind}."


class Reader:
    """Reads the images of one command with its options; `say` takes what there is to say of them. Any thread may
    read."""

    def __init__(self, options: ReadingOptions | None = None, say: Callable[[str], None] = lambda line: None) -> None:
        self.options, self.say, self.notes = options or ReadingOptions(), say, Notes()
        self._said: set[str] = set()

    def read(self, path: str | Path, label: str = "`image_path`", background: str | None = None) -> Image.Image:
        """An image as `read_image` reads it, over `background` or the color of the options; its notes are kept. Raises
        what that raises."""
        background = background or self.options.background
        picture = read_image(path, label, background=background, max_pixels=self.options.max_pixels)
        self.notes.add(path, picture.notes)
        return picture.image

    def standardize(self, image: Image.Image, label: str, background: str | None = None) -> Image.Image:
        """A picture in memory as `read` gives it from a file; `label` stands for its name."""
        picture = standardized(image, label, background or self.options.background)
        self.notes.add(label, picture.notes)
        return picture.image

    def say_notes(self) -> None:
        """Say what reading the images so far has changed, and was not said before."""
        for sentence in self.notes.sentences():
            self.say_once(sentence)

    def say_once(self, sentence: str) -> None:
        """Say a sentence, unless it is empty or was said before."""
        if sentence and sentence not in self._said:
            self._said.add(sentence)
            self.say(sentence)
