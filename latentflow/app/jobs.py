"""Computations for visitors: in a few threads, taking turns, and ended when their page has been away for minutes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from latentflow.base.errors import InputError, Interrupted, LatentflowError, as_options
from latentflow.base.records import Comparison, Frame
from latentflow.base.session import Session

if TYPE_CHECKING:
    from latentflow.models.loading import Loaded

LOG = logging.getLogger(__name__)
GRACE = 300.0  # seconds that a page may be away: a phone that sleeps, a train in a tunnel
PATIENCE = 5.0  # seconds for the record in hand, when the app ends
UNFINISHED = ("waiting", "running")


class Job:
    """One piece of work of one visitor, the `owner`. `state` is waiting, running, done, stopped or failed; `error` says
    why it failed, `said` holds what the library had to say, `progress` a few words on how far it is.

    `take` is given each frame that passes the job's session; by default it is shown. A visitor has one job of each
    `kind` running and one waiting; jobs with the same `press` of a button wait together.
    """

    def __init__(
        self,
        owner: str,
        work: Callable[[Job], None],
        load: Callable[[], Loaded],
        take: Callable[[Job, Any], None] | None = None,
        *,
        kind: str = "run",
        press: object = None,
    ) -> None:
        self.owner, self.work, self.take = owner, work, take or Job.show
        self.kind, self.press = kind, press or object()
        self.leave: Callable[[Job], bool] = lambda job: False  # takes it out of the queue it waits in
        self.state, self.error, self.progress = "waiting", "", ""
        self.said: list[str] = []
        self.newest: Any = None  # what is shown of it
        self.version = 0  # of the newest
        self.session = JobSession(self, load)
        self.ended = threading.Event()

    def show(self, record: Any) -> None:
        """Show this record from now on."""
        self.newest = record
        self.version += 1

    def stop(self, reason: str = "") -> None:
        """End it after the record in hand; one that waits ends at once."""
        self.session.stop(reason)
        if self.leave(self):
            self.do()

    @property
    def is_going_on(self) -> bool:
        """True while the job waits or runs."""
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
            self.error = bug(error)
        finally:
            self.state = outcome
            self.ended.set()


def one_line(error: LatentflowError) -> str:
    """An error as one line, as the command line says it."""
    return as_options(" ".join(str(error).split()))


def bug(error: Exception) -> str:
    """An error that nobody foresaw, as one line for a visitor; the log of the server has its traceback."""
    LOG.error("A bug in this program.", exc_info=error)
    return f"{type(error).__name__}, which is a bug in this program."


class JobSession(Session):
    """The session of a job: says things to its visitor, loads the app's autoencoder, and shows the frames that pass."""

    def __init__(self, job: Job, load: Callable[[], Loaded]) -> None:
        super().__init__(job.said.append, self._start)
        self.job, self._load = job, load
        self.total, self.unit = 0, ""  # of the stream of records

    def load(self, *args: Any, **kwargs: Any) -> Loaded:
        """The autoencoder of the app, whatever is asked for."""
        return self._load()

    def watch(self, records: Any, state: str = "outputs are complete up to that step") -> Iterator[Any]:
        """Pass records on, and show the frames among them."""
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
    """Does jobs in `at_once` threads, by turns; the jobs of at most `waiting` visitors wait.

    Each visitor has one job of a kind running. A press of a button puts jobs into the queue and takes out those of an
    earlier press that still wait, so that no visitor has more than one place. Whoever was served goes to the end.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self.at_once, self.waiting = at_once, waiting
        self._jobs: list[Job] = []
        self._going: list[Job] = []
        self._changed = threading.Condition()
        self._away: dict[str, float] = {}
        for _ in range(at_once):
            threading.Thread(target=self._serve, daemon=True).start()

    def submit(self, job: Job) -> Job:
        """Take a job, instead of those of an earlier press that wait; raises `InputError` when too many visitors do."""
        with self._changed:
            earlier = [each for each in self._jobs if _same_place(each, job) and each.press is not job.press]
            others = {each.owner for each in self._jobs} - {job.owner}
            free = self.at_once - len(self._going)
            if len(others) >= self.waiting + max(0, free):
                raise InputError(
                    f"{len(self._going)} runs are computed and {len(others)} visitors wait, as many as this app takes.",
                    "Try again in a while.",
                )
            job.leave = self._left
            self._jobs.append(job)
            self._changed.notify_all()
        for each in earlier:
            each.stop("a later press took its place")
        return job

    def place(self, job: Job) -> int:
        """Count the jobs before a waiting one: 0 for the next one to begin."""
        with self._changed:
            return self._jobs.index(job) if job in self._jobs else 0

    def state(self, job: Job) -> str:
        """Describe the length of the queue and a waiting job's place in it, as a sentence."""
        with self._changed:
            own = any(_same_place(each, job) for each in self._going)
            before, going = self.place(job), len(self._going)
        if own:
            return "Waiting until your other run has ended. Another press takes this place."
        ahead = "it is the next" if before == 0 else f"{before} {'is' if before == 1 else 'are'} before it"
        return f"Waiting for its turn: {going} {'run is' if going == 1 else 'runs are'} computed, {ahead}."

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

    def close(self) -> None:
        """End all jobs and wait for them: a process that ends while torch computes in a thread is aborted."""
        with self._changed:
            mine = [*self._jobs, *self._going]
        for job in mine:
            job.stop("the app has ended")
        for job in mine:
            job.ended.wait(PATIENCE)

    def _left(self, job: Job) -> bool:
        """Take a job out of the queue; return whether it was there."""
        with self._changed:
            there = job in self._jobs
            if there:
                self._jobs.remove(job)
            return there

    def _next(self) -> Job | None:
        """The first job that may begin: its visitor has no job of its kind running."""
        return next((job for job in self._jobs if not any(_same_place(job, each) for each in self._going)), None)

    def _take(self) -> Job:
        """Wait for the next job; the visitor's other jobs go to the end of the queue."""
        with self._changed:
            while (job := self._next()) is None:
                self._changed.wait()
            self._jobs.remove(job)
            self._jobs.sort(key=lambda each: _same_place(each, job))  # False comes first; the order stays otherwise
            self._going.append(job)
            return job

    def _serve(self) -> None:
        while True:
            job = self._take()
            job.do()
            with self._changed:
                self._going.remove(job)
                self._changed.notify_all()


def _same_place(one: Job, other: Job) -> bool:
    return (one.owner, one.kind) == (other.owner, other.kind)
