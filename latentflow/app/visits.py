"""Who uses the app: each page is a visit with a folder, uploads and jobs of its own, found again by its address."""

from __future__ import annotations

import gc
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentflow.app.config import AppConfig
from latentflow.app.jobs import Job, Jobs
from latentflow.app.media import Media, small_jpeg
from latentflow.base.errors import InputError
from latentflow.base.options import Options
from latentflow.base.session import Session
from latentflow.models.loading import Models
from latentflow.models.toy import TOY
from latentflow.pictures.config import ReadingOptions
from latentflow.pictures.decoding import readable_suffixes
from latentflow.pictures.files import read_image
from latentflow.prompts.config import DEFAULT_MODEL

if TYPE_CHECKING:
    from latentflow.models.autoencoder import Autoencoder
    from latentflow.models.loading import Loaded
    from latentflow.prompts.pipelines import TextToImage

KEPT = 1800.0  # seconds that the things of a closed page are kept, in case it connects again
SUFFIXES = sorted(readable_suffixes())
MODEL_OPTIONS = ("vae", "vae_config", "weights", "device", "dtype", "model")


@dataclass(frozen=True, slots=True)
class Upload:
    """An image of a visitor: the `name` it had, for people, the `path` of its bytes, and the address of its
    thumbnail."""

    name: str
    path: Path
    thumbnail: str

    @property
    def stem(self) -> str:
        """Its name without the suffix."""
        return self.name.rsplit(".", 1)[0] or self.name


class Visit:
    """One page, in one or several windows: its uploads and the computations for it, in a `folder` of its own.

    `owner` is the end of its address and can't be guessed. `things` holds what the panels show by name, `uploads` the
    images that each panel was given, `settings` the values of its widgets: a page that is loaded anew begins with them.
    A `lasting` visit is nobody's and stays as long as the server.
    """

    def __init__(self, owner: str, studio: Studio, *, lasting: bool = False) -> None:
        self.owner, self.studio, self.lasting = owner, studio, lasting
        self.folder = Path(tempfile.mkdtemp(prefix="latentflow-app-"))
        self.seen = time.monotonic()
        self.windows: set[str] = set()  # the sessions of Streamlit that show it
        self.things: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}
        self.uploads: dict[str, list[Upload]] = {}
        self._taken: dict[tuple[str, str], Upload] = {}
        self._count = 0
        self._lock = threading.Lock()

    def new_folder(self) -> Path:
        """A new, empty folder."""
        self._count += 1
        made = self.folder / f"{self._count:04}"
        made.mkdir()
        return made

    def take(self, name: str, content: bytes, identity: str, folder: Path | None = None) -> Upload:
        """Keep an uploaded image, once for each `identity`; its name is for people and never becomes a path as it is.

        Raises `InputError` for a file that isn't an image, or one with too many pixels.
        """
        key = (identity, str(folder or ""))
        with self._lock:
            if key not in self._taken:
                self._taken[key] = self._read(name, content, folder or self.new_folder())
            return self._taken[key]

    def _read(self, name: str, content: bytes, folder: Path) -> Upload:
        suffix = Path(name).suffix.lower()
        path = _free(folder, plain(name), suffix if suffix in SUFFIXES else ".png")  # it is read by its content
        path.write_bytes(content)
        try:
            picture = read_image(path, "The upload", **self.studio.reading).image
        except InputError as error:
            path.unlink(missing_ok=True)
            text = str(error).replace(str(path), _printable(name))
            raise InputError(text) from error
        return Upload(_printable(name), path, self.studio.media.picture(self.owner, small_jpeg(picture)))

    def job(self, work: Callable[[Job], None], take: Callable[[Job, Any], None] | None = None, **place: Any) -> Job:
        """A job of this visit, which waits for its turn; raises `InputError` when too many wait. `place` has its
        `kind` and `press`."""
        if not self.lasting:
            self.studio.end_samples()
        return self.studio.jobs.submit(Job(self.owner, work, self.studio.load, take, **place))

    def close(self) -> None:
        """Forget everything."""
        self.studio.media.drop(self.owner)
        shutil.rmtree(self.folder, ignore_errors=True)


class Studio:
    """The state that all visits share: the options, the autoencoder, jobs and addresses. `vae` may be an
    `Autoencoder`."""

    def __init__(self, config: AppConfig, vae: str | Autoencoder | None = None) -> None:
        self.config, self.vae = config, config.vae if vae is None else vae
        self.models, self._lock = Models(tune=True), threading.Lock()
        self.media = Media()
        self._prompting = threading.Lock()
        self._pipeline: TextToImage | None = None
        self.jobs = Jobs(config.runs, config.queue)
        self._visits: dict[str, Visit] = {}
        self.samples: dict[str, Any] = {}  # what panels show before anything was asked for

    @property
    def reading(self) -> dict[str, Any]:
        """The app's options on how images are read, for the configs of what is computed."""
        return {each.name: getattr(self.config, each.name) for each in fields(ReadingOptions)}

    def named(self, config: Options) -> dict[str, Any]:
        """The options of the app's model that a command has too, for the line that does the same."""
        names = {each.name for each in fields(config)} & set(MODEL_OPTIONS)
        return {name: self.named_vae if name == "vae" else getattr(self.config, name) for name in names}

    def load(self) -> Loaded:
        """The autoencoder and its networks, loaded once."""
        config = self.config
        return self.models.load(self.vae, config.weights, config.device, config.dtype, config.vae_config)

    @contextmanager
    def prompting(self, session: Session) -> Iterator[TextToImage]:
        """The pipeline of prompts, loaded once, for one job at a time: it has a state. Others wait, until they are
        stopped."""
        from latentflow.prompts.loading import load_pipeline

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
        """Describe the model that makes pictures from prompts."""
        if self.config.model not in (None, TOY):
            return str(self.config.model)
        toy = "the toy, a small model that comes with latentflow and knows few words"
        return toy if self.config.model else f"{DEFAULT_MODEL} if it is in the cache, else by {toy}"

    @property
    def named_vae(self) -> str | None:
        """The autoencoder as an option of the command line; None where none is needed."""
        return self.vae if isinstance(self.vae, str | None) else self.vae.name

    @property
    def vae_name(self) -> str:
        """The name of the autoencoder."""
        return self.named_vae or self.load().autoencoder.name

    def visit(self, owner: str, *, lasting: bool = False) -> Visit:
        """The visit of that owner, which begins if there is none."""
        with self._lock:
            visit = self._visits.get(owner) or Visit(owner, self, lasting=lasting)
            self._visits[owner] = visit
        visit.seen = time.monotonic()
        return visit

    def find(self, owner: str) -> Visit | None:
        """The visit of that owner, unless it was forgotten or never began."""
        visit = self._visits.get(owner)
        return None if visit is None or visit.lasting else self.visit(owner)

    def new_visit(self) -> Visit:
        """A visit with an owner that nobody can guess."""
        return self.visit(secrets.token_urlsafe(18))

    def end_samples(self) -> None:
        """End what is computed for nobody in particular: somebody has asked for something. What there is stays."""
        for sample in self.samples.values():
            if sample.job.is_going_on:
                sample.job.stop()

    def tidy(self, is_there: Callable[[str], bool], now: float | None = None) -> None:
        """End the jobs of closed pages, and forget pages that have been closed for a while; `is_there` says whether a
        window, a session of Streamlit, is connected."""
        now = time.monotonic() if now is None else now
        shown = {
            owner: visit.lasting or any(map(is_there, list(visit.windows))) for owner, visit in self._listed().items()
        }
        self.jobs.reap(lambda owner: shown.get(owner, False), now)
        for owner, visit in self._listed().items():
            if shown.get(owner, True):
                visit.seen = now
            elif now - visit.seen > KEPT:
                del self._visits[owner]
                visit.close()

    def _listed(self) -> dict[str, Visit]:
        with self._lock:
            return dict(self._visits)

    def close(self) -> None:
        """End everything, when the server ends."""
        self.jobs.close()
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


def _free(folder: Path, stem: str, suffix: str) -> Path:
    """A path in a folder with a new stem: no file there has it, in upper or lower case."""
    taken = {each.stem.lower() for each in folder.iterdir()}
    names = (stem if count == 0 else f"{stem}-{count}" for count in range(len(taken) + 1))
    return folder / (next(name for name in names if name.lower() not in taken) + suffix)


def _printable(name: str) -> str:
    """A name as it is shown: one line, not too long."""
    shown = "".join(each if each.isprintable() else " " for each in name.rsplit("/", 1)[-1]).strip()
    return shown[-60:] or "image"
