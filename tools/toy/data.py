"""Latents and captions to train on, of a folder or of drawn scenes, encoded once and kept in a file."""

from __future__ import annotations

import codecs
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from latentflow.base.errors import InputError, LatentflowError, first_line
from latentflow.base.files import write_file
from latentflow.base.options import counted
from latentflow.base.session import Session
from latentflow.base.state import pack, unpack
from latentflow.models.autoencoder import Autoencoder
from latentflow.pictures.files import cover
from latentflow.pictures.folders import find_images, named
from latentflow.pictures.reader import Reader
from latentflow.training.clock import Clock
from latentflow.training.data import to_bytes
from tools.toy.captioned import Scene, captioned, vocabulary
from tools.toy.config import TrainPromptsConfig
from tools.toy.plan import LATENTS

VALIDATION_IMAGES = 256  # at most
ENCODED_TOGETHER = 32
MOST_WORDS = 4096  # of a folder's captions, the most frequent
CAPTION = ".txt"
DRAWING = Path(__file__).with_name("captioned.py")  # what is drawn depends on this code
MARKS = {  # that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

Pair = tuple[Path, str]  # an image and its caption


@dataclass(slots=True)
class Captioned:
    """Latents (n, c, rows, columns) of about unit variance with their captions; the first `validation` are never
    trained on. `words` are those the model will know."""

    latents: Tensor
    captions: list[str]
    validation: int
    words: list[str]
    skipped: int = 0


def words_of(text: str) -> list[str]:
    """The words of a text: letters and digits of any script, in lower case."""
    return re.findall(r"\w+", text.lower())


def open_data(
    config: TrainPromptsConfig,
    data: Path | None,
    pairs: list[Pair],
    folder: Path,
    autoencoder: Autoencoder,
    session: Session,
    clock: Clock,
) -> Captioned:
    """Encode the images of `pairs`, or draw and encode some where `data` is None, or take what an earlier training with
    the same images left in `folder`.

    Raises `InputError` for fewer than two images that can be decoded, and where the time limit is too short.
    """
    reader = Reader(config, session.say)
    known = [config.size, autoencoder.sha256, str(autoencoder.dtype)]
    if data is None:
        known += [config.seed, config.pictures, hashlib.sha256(DRAWING.read_bytes()).hexdigest()]
    else:
        known += [str(path.resolve()) + str(path.stat().st_mtime_ns) + caption for path, caption in pairs]
    identity = hashlib.sha256(repr(known).encode()).hexdigest()
    kept = folder / LATENTS
    if kept.exists() and (state := unpack(kept, "encoded images"))["identity"] == identity:
        return Captioned(state["latents"], *(state[key] for key in ("captions", "validation", "words", "skipped")))
    if data is None:
        found = _encoded(_drawn(config), VALIDATION_IMAGES + config.pictures, autoencoder, session, clock)
        made = Captioned(*found, VALIDATION_IMAGES, vocabulary())
    else:
        latents, captions = _encoded(_read(pairs, config.size, reader), len(pairs), autoencoder, session, clock)
        reader.say_notes()
        if len(captions) < 2:
            raise InputError(f"`data` {data}: fewer than two images can be decoded.")
        held = min(VALIDATION_IMAGES, max(1, len(captions) // 20))
        counts = Counter(word for caption in captions for word in words_of(caption))
        words = sorted(word for word, _ in counts.most_common(MOST_WORDS))
        made = Captioned(latents, captions, held, words, len(pairs) - len(captions))
    values = {name: getattr(made, name) for name in ("latents", "captions", "validation", "words", "skipped")}
    write_file(kept, pack({"identity": identity} | values), "`output_dir`")
    return made


def _drawn(config: TrainPromptsConfig) -> Iterator[tuple[Image.Image, str]]:
    first = (config.seed % 2**20) * 2**20
    for index in range(VALIDATION_IMAGES + config.pictures):
        image, caption, _ = captioned(first + index, config.size)
        yield image, caption


def find_pairs(data: Path, reader: Reader, seed: int) -> list[Pair]:
    """The images of a folder that have a caption, in a random order; says which are left out. Raises `InputError` where
    fewer than two are left."""
    listed = find_images(data, beside=CAPTION)
    reader.say_once(listed.passed_over)
    pairs: list[Pair] = []
    without, unreadable = 0, list[str]()
    for path in listed.paths:
        beside = path.with_suffix(CAPTION)
        try:
            caption = " ".join(read_caption(beside).split()) if beside.is_file() else ""
        except (OSError, ValueError):
            unreadable.append(beside.relative_to(data).as_posix())
            continue
        if words_of(caption):
            pairs.append((path, caption))
        else:
            without += 1
    lost = f" Captions that are not in UTF-8 can't be read: {named(unreadable)}." if unreadable else ""
    if len(pairs) < 2:
        raise InputError(
            f"`data` {data} holds {counted(len(pairs), 'image')} with a caption; at least 2 are needed.{lost}",
            "Save them as UTF-8." if lost else "The caption of photo.jpg stands in photo.txt beside it.",
        )
    if lost:
        reader.say_once(f"{lost.strip()} {counted(len(unreadable), 'image', 'are')} left out; save them as UTF-8.")
    if without:
        reader.say_once(f"{counted(without, 'image')} without a caption left out.")
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)).tolist()
    return [pairs[index] for index in order]


def read_caption(path: Path) -> str:
    """The text of a file, in UTF-16 or UTF-32 where it has their mark, else in UTF-8; raises ValueError for any other.

    UTF-16 without a mark is UTF-8 with a zero byte in every letter, which no caption has.
    """
    content = path.read_bytes()
    text = content.decode(next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8-sig"))
    if "\0" in text:
        raise ValueError("it is no text")
    return text


def _read(pairs: list[Pair], size: int, reader: Reader) -> Iterator[tuple[Image.Image, str]]:
    for path, caption in pairs:
        try:
            image = reader.read(path, "`data`")
        except LatentflowError as error:
            reader.say_once(f"Left out: {first_line(error)}")
            continue
        yield cover(image, size, size), caption


def _encoded(
    pairs: Iterator[tuple[Image.Image, str]], count: int, autoencoder: Autoencoder, session: Session, clock: Clock
) -> tuple[Tensor, list[str]]:
    """The latents and captions of images, encoded some together."""
    meter = session.start_meter(count, "image")
    check = clock.preparing(count, ENCODED_TOGETHER, session.check)
    latents: list[Tensor] = []
    captions: list[str] = []
    images: list[Tensor] = []

    def encode() -> None:
        with torch.no_grad():
            latents.append(autoencoder.encode(torch.stack(images).to(autoencoder.device).float() / 255).cpu())
        images.clear()
        check()
        if meter is not None:
            meter.update(len(captions), "encoded")

    try:
        for image, caption in pairs:
            images.append(to_bytes(image))
            captions.append(caption)
            if len(images) == ENCODED_TOGETHER:
                encode()
        if images:
            encode()
    finally:
        if meter is not None:
            meter.close()
    return torch.cat(latents) if latents else torch.empty(0), captions


def sample_prompts(data: Captioned, *, generated: bool) -> list[str]:
    """Up to eight different prompts to watch a training by: of scenes that are held out, or captions of a folder,
    those of validation images first."""
    if not generated:
        return list(dict.fromkeys(data.captions))[:8]
    import numpy as np

    rng = np.random.default_rng(0)
    scenes: dict[str, Scene] = {}
    while len(scenes) < 8:
        scene = Scene.random(rng, held_out=True)
        scenes.setdefault(scene.kind, scene)
    return [scene.caption() for _, scene in sorted(scenes.items())]
