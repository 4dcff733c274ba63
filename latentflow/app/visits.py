"""Who uses the app: each open page is a visit with a folder, uploads and jobs of its own."""

from __future__ import annotations

import gc
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentflow.app.config import AppConfig
from latentflow.app.jobs import Job, Jobs
from latentflow.app.media import Media
from latentflow.errors import InputError
from latentflow.models.loading import Models
from latentflow.models.toy import TOY
from latentflow.pictures.decoding import readable_suffixes
from latentflow.pictures.files import fit, read_image, to_jpeg
from latentflow.prompts.config import DEFAULT_MODEL
from latentflow.session import Session

if TYPE_CHECKING:
    from latentflow.models.autoencoder import Autoencoder
    from latentflow.models.loading import Loaded
    from latentflow.prompts.pipelines import TextToImage

KEPT = 150.0  # seconds that the things of a closed page are kept, in case it connects again
THUMBNAIL = 160  # pixels
SUFFIXES = sorted(readable_suffixes())


@dataclass(frozen=True, slots=True)
class Upload:
    """An image of a visitor: the `name` it had, for people, the `path` of its bytes, and its thumbnail, a JPEG."""

    name: str
    path: Path
    thumbnail: bytes

    @property
    def stem(self) -> str:
        """Its name without the suffix."""
        return self.name.rsplit(".", 1)[0] or self.name


class Visit:
    """One open page: what it has uploaded and what is computed for it, in a `folder` of its own."""

    def __init__(self, owner: str, studio: Studio) -> None:
        self.owner, self.studio = owner, studio
        self.folder = Path(tempfile.mkdtemp(prefix="latentflow-app-"))
        self.seen = time.monotonic()
        self._uploads: dict[tuple[str, str], Upload] = {}
        self._count = 0

    def new_folder(self) -> Path:
        """A new, empty folder."""
        self._count += 1
        made = self.folder / f"{self._count:04}"
        made.mkdir()
        return made

    def take(self, name: str, content: bytes, identity: str, folder: Path | None = None) -> Upload:
        """Keep an uploaded image, once for each `identity`; its name is for people and never becomes a path as it is.

        Raises `InputError` for what is no image, or one with too many pixels.
        """
        key = (identity, str(folder or ""))
        if key not in self._uploads:
            place = folder or self.new_folder()
            stem, taken = plain(name), {each.stem for each in place.iterdir()}
            stem = f"{stem}-{len(taken)}" if stem in taken else stem
            suffix = Path(name).suffix.lower()
            path = place / (stem + (suffix if suffix in SUFFIXES else ".png"))  # it is read by its content
            path.write_bytes(content)
            try:
                picture = read_image(path, "The upload", max_pixels=self.studio.config.max_pixels).image
            except InputError as error:
                path.unlink(missing_ok=True)
                text = str(error).replace(str(path), _printable(name))
                raise InputError(text) from error
            thumbnail = to_jpeg(np.asarray(fit(picture, THUMBNAIL)))
            self._uploads[key] = Upload(_printable(name), path, thumbnail)
        return self._uploads[key]

    def job(self, work: Callable[[Job], None], take: Callable[[Job, Any], None] | None = None) -> Job:
        """A job of this visit, which waits for its turn; raises `InputError` when too many wait."""
        return self.studio.jobs.submit(Job(self.owner, work, self.studio.load, take))

    def close(self) -> None:
        """Forget everything."""
        self.studio.media.drop(self.owner)
        shutil.rmtree(self.folder, ignore_errors=True)


class Studio:
    """What all visits share: the options, the autoencoder, jobs and addresses. `vae` may be an `Autoencoder`."""

    def __init__(self, config: AppConfig, vae: str | Autoencoder | None = None) -> None:
        self.config, self.vae = config, config.vae if vae is None else vae
        self.models, self._lock = Models(tune=True), threading.Lock()
        self.media = Media()
        self._prompting = threading.Lock()
        self._pipeline: TextToImage | None = None
        self.jobs = Jobs(config.runs, config.queue)
        self._visits: dict[str, Visit] = {}

    def load(self) -> Loaded:
        """The autoencoder and its networks, loaded once."""
        config = self.config
        return self.models.load(self.vae, config.weights, config.device, config.dtype, config.vae_config)

    @contextmanager
    def prompting(self, session: Session) -> Iterator[TextToImage]:
        """The pipeline of prompts, loaded once, for one job at a time: it has a state. Others wait, until they are
        stopped."""
        from latentflow.prompts.pipelines import load_pipeline

        while not self._prompting.acquire(timeout=0.2):
            session.check()
        try:
            if self._pipeline is None:
                self._pipeline = load_pipeline(self.config.model, self.config.device, say=session.say)
                # Streamlit collects garbage whenever a part of the page was drawn: with all that diffusers and
                # transformers have imported that takes most of a second, in which nothing else is computed
                gc.freeze()
            yield self._pipeline
        finally:
            self._prompting.release()

    def model_words(self) -> str:
        """What makes pictures from prompts, in words."""
        if self.config.model not in (None, TOY):
            return str(self.config.model)
        toy = "the toy, a small model that comes with latentflow and knows few words"
        return toy if self.config.model else f"{DEFAULT_MODEL} if it is in the cache, else by {toy}"

    @property
    def named_vae(self) -> str | None:
        """The autoencoder as an option of the command line; None where none is needed."""
        return self.vae if isinstance(self.vae, str | None) else self.vae.name

    def visit(self, owner: str) -> Visit:
        """The visit of a page."""
        with self._lock:
            visit = self._visits.get(owner) or Visit(owner, self)
            self._visits[owner] = visit
        visit.seen = time.monotonic()
        return visit

    def tidy(self, is_there: Callable[[str], bool], now: float | None = None) -> None:
        """End the jobs of closed pages, and forget pages that have been closed for a while."""
        now = time.monotonic() if now is None else now
        self.jobs.reap(is_there, now)
        for owner, visit in list(self._visits.items()):
            if is_there(owner):
                visit.seen = now
            elif now - visit.seen > KEPT:
                del self._visits[owner]
                visit.close()

    def close(self) -> None:
        """End everything, when the server ends."""
        for visit in self._visits.values():
            visit.close()
        self._visits.clear()


_studio: Studio | None = None


def open_studio(studio: Studio) -> Studio:
    """Make it the one of this process, which the page then uses."""
    global _studio
    _studio = studio
    return studio


def the_studio() -> Studio:
    """The one of this process; the page that Streamlit runs asks for it."""
    if _studio is None:
        raise RuntimeError("Start the app with `latentflow app`.")
    return _studio


def plain(name: str) -> str:
    """A name of letters, digits and dashes that no file system takes for anything else."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", name.rsplit("/", 1)[-1].rsplit("\\", 1)[-1].rsplit(".", 1)[0]).strip("-")
    return stem[:40] or "image"


def _printable(name: str) -> str:
    """A name as it is shown: one line, not too long."""
    shown = "".join(each if each.isprintable() else " " for each in name.rsplit("/", 1)[-1]).strip()
    return shown[-60:] or "image"
