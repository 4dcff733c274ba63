"""What is computed for visitors: in a few threads, the others waiting, and ended when their page is closed."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from latentflow.errors import InputError, Interrupted, LatentflowError, as_options
from latentflow.records import Comparison, Frame
from latentflow.session import Session

if TYPE_CHECKING:
    from latentflow.models.loading import Loaded

LOG = logging.getLogger(__name__)
GRACE = 5.0  # seconds that a page may be away, as while it is loaded anew
UNFINISHED = ("waiting", "running")


class Job:
    """One piece of work of one visitor, the `owner`. `state` is waiting, running, done, stopped or failed; `error` says
    why it failed, `said` holds what the library had to say, `progress` a few words on how far it is.

    `take` is given each frame that passes the job's session; by default it is shown.
    """

    def __init__(
        self,
        owner: str,
        work: Callable[[Job], None],
        load: Callable[[], Loaded],
        take: Callable[[Job, Any], None] | None = None,
    ) -> None:
        self.owner, self.work, self.take = owner, work, take or Job.show
        self.state, self.error, self.progress = "waiting", "", ""
        self.said: list[str] = []
        self.newest: Any = None  # what is shown of it
        self.version = 0  # of the newest
        self.session = JobSession(self, load)
        self.ended = threading.Event()

    def show(self, record: Any) -> None:
        """What is to be shown from now on."""
        self.newest = record
        self.version += 1

    def stop(self, reason: str = "") -> None:
        """End it after the record in hand; one that waits doesn't begin."""
        self.session.stop(reason)

    @property
    def is_going_on(self) -> bool:
        """Whether it waits or runs."""
        return self.state in UNFINISHED

    def do(self) -> None:
        """Do the work, in the thread that calls; what goes wrong is kept."""
        self.state, outcome = "running", "failed"
        try:
            self.session.check()
            self.work(self)
            outcome = "stopped" if self.session.is_stopped else "done"
        except Interrupted as error:
            outcome, self.error = "stopped", str(error)
        except LatentflowError as error:
            self.error = one_line(error)
        except Exception as error:  # a bug: the visitor sees its kind, the log of the server where it is
            self.error = f"{type(error).__name__}, which is a bug in this program."
            LOG.exception("A job failed.")
        finally:
            self.state = outcome
            self.ended.set()


def one_line(error: LatentflowError) -> str:
    """An error as one line, as the command line says it."""
    return as_options(" ".join(str(error).split()))


class JobSession(Session):
    """The session of a job: says things to its visitor, loads the app's autoencoder, and shows the frames that pass."""

    def __init__(self, job: Job, load: Callable[[], Loaded]) -> None:
        super().__init__(job.said.append, self._start)
        self.job, self._load = job, load

    def load(self, *args: Any, **kwargs: Any) -> Loaded:
        """The autoencoder of the app, whatever is asked for."""
        return self._load()

    def watch(self, records: Any, state: str = "outputs are complete up to that step") -> Iterator[Any]:
        """Pass records on, and show those that are frames."""
        for record in super().watch(records, state):
            if isinstance(record, Frame | Comparison):
                self.job.take(self.job, record)
            yield record

    def _start(self, total: int, unit: str) -> JobSession:
        self.total, self.unit = total, unit
        return self

    def update(self, done: int, text: str) -> None:
        """Note how far the stream of records is."""
        self.job.progress = f"{self.unit} {done} of {self.total}"

    def close(self) -> None:
        """The stream has ended."""


class Jobs:
    """Does jobs in `at_once` threads; at most `waiting` wait for their turn."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self.at_once, self.waiting = at_once, waiting
        self._jobs: deque[Job] = deque()
        self._going: list[Job] = []
        self._changed = threading.Condition()
        self._away: dict[str, float] = {}
        for _ in range(at_once):
            threading.Thread(target=self._serve, daemon=True).start()

    def submit(self, job: Job) -> Job:
        """Take a job; raises `InputError` when too many wait."""
        with self._changed:
            free = self.at_once - len(self._going)
            if len(self._jobs) >= self.waiting + max(0, free):
                raise InputError(
                    f"{len(self._going)} runs are computed and {len(self._jobs)} wait, as many as this app takes.",
                    "Try again in a while.",
                )
            self._jobs.append(job)
            self._changed.notify()
        return job

    def place(self, job: Job) -> int:
        """How many jobs are before one that waits."""
        with self._changed:
            return self._jobs.index(job) if job in self._jobs else 0

    def reap(self, is_there: Callable[[str], bool], now: float | None = None) -> list[Job]:
        """End the jobs of visitors that have been away for a while; return them."""
        now = time.monotonic() if now is None else now
        with self._changed:
            mine = [*self._jobs, *self._going]
        for owner in {job.owner for job in mine}:
            if is_there(owner):
                self._away.pop(owner, None)
            else:
                self._away.setdefault(owner, now)
        gone = [job for job in mine if now - self._away.get(job.owner, now) >= GRACE]
        for job in gone:
            job.stop("its page was closed")
        self._away = {owner: since for owner, since in self._away.items() if owner in {job.owner for job in mine}}
        return gone

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    self._changed.wait()
                job = self._jobs.popleft()
                self._going.append(job)
            job.do()
            with self._changed:
                self._going.remove(job)
