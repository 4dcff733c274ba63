"""The context of a run, shared with its caller: loaded models, sentences for people, a progress meter, a flag to stop.

The command line makes one session for each command, an app or a notebook one for each run. Nothing in here needs the
main thread.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from latentflow.base.errors import Interrupted
from latentflow.base.options import plain
from latentflow.base.records import AnyRecord

if TYPE_CHECKING:
    from latentflow.models.autoencoder import Autoencoder
    from latentflow.models.loading import Loaded, Models
    from latentflow.models.weights import FoundWeights

Say = Callable[[str], None]
NOTHING_WRITTEN = "nothing is written yet"
OBJECT = "object:"  # before the number of an autoencoder that was made elsewhere


class Meter(Protocol):
    """Shows how far a stream of records is."""

    def update(self, done: int, text: str) -> None:
        """Show that `done` records are complete, with a few words on the last one."""

    def close(self) -> None:
        """The stream has ended."""


StartMeter = Callable[[int, str], "Meter | None"]  # the number of records and what one is called, such as "step"


def ignore(line: str) -> None:
    """Say nothing."""


def no_meter(total: int, unit: str) -> None:
    """Show no progress."""


class Session:
    """Loaded models, `say` (takes one sentence for people), `start_meter` (shows progress), and a flag to stop.

    Any thread may call `stop()`; the run ends with `Interrupted` after the record it is working on, and its outputs are
    complete up to that record. Sessions that share `models` share what they have loaded, and are stopped separately:
    `Session(models=other.models)`.
    """

    def __init__(
        self,
        say: Say = ignore,
        start_meter: StartMeter = no_meter,
        *,
        models: Models | None = None,
        quiet: bool = True,
        tune: bool = False,
    ) -> None:
        """`quiet` leaves out the hints that a person at a terminal wants and a program does not. `tune` sets the
        process's CUDA switches for speed, which only the program that owns the process should ask for."""
        self.say, self.start_meter, self.quiet = say, start_meter, quiet
        self._held = 0  # how many loops are at work that notice a stop by themselves
        self._models, self._tune = models, tune
        self._stopped = False  # no Event: its lock may be held by the thread that a signal handler interrupts
        self._reason, self._exit_code = "", 130
        self._said: set[str] = set()
        self._named: WeakValueDictionary[str, Autoencoder] = WeakValueDictionary()

    @property
    def models(self) -> Models:
        """The loaded models, to be shared with other sessions."""
        if self._models is None:
            from latentflow.models.loading import Models

            self._models = Models(tune=self._tune)
        return self._models

    def load(
        self,
        vae: str | PathLike[str] | Autoencoder | None = None,
        weights: str = "auto",
        device: str = "auto",
        dtype: str = "auto",
        vae_config: str | None = None,
    ) -> Loaded:
        """The autoencoder that `vae` names or is, and the networks that go with it, from `models` if they are there.

        Says which weights stand in for others, and what was assumed of a file. Raises `InputError` for a device this
        machine doesn't have, `WeightsError` for weights that are missing or corrupt.
        """
        if isinstance(vae, str):
            vae = self._named.get(vae, vae)
        loaded = self.models.load(vae, weights, device, dtype, vae_config)
        if loaded.weights.notice:
            self.say(loaded.weights.notice)
        return loaded

    def find(self, vae: str | None, weights: str = "auto") -> FoundWeights:
        """Find the weights that `load` would load; raises `WeightsError` where they are missing."""
        from latentflow.models.weights import find_weights

        given = self._named.get(vae or "")
        return find_weights(vae, weights) if given is None else self.models.load(given, weights, "auto", "auto").weights

    def name(self, vae: Any) -> Any:
        """The text by which options name an autoencoder, also one that was made elsewhere, which this session finds by
        it for as long as somebody holds it; several are separated by commas."""
        given = vae if isinstance(vae, list | tuple) else [vae]
        texts: list[Any] = []
        for each in given:
            if each is not None and hasattr(each, "geometry"):
                self._named[f"{OBJECT}{id(each)}"] = each
                texts.append(f"{OBJECT}{id(each)}")
            elif each is not None:
                texts.append(plain(each))
        return ",".join(texts) if all(isinstance(each, str) for each in texts) and texts else plain(vae)

    def say_once(self, line: str) -> None:
        """Say a sentence unless this session has said it before."""
        if line not in self._said:
            self._said.add(line)
            self.say(line)

    def stop(self, reason: str = "", exit_code: int = 130) -> None:
        """Ask the run to end after the record it is working on; `reason` goes into its message. Works from any thread,
        and from a signal handler."""
        self._reason, self._exit_code = reason, exit_code
        self._stopped = True

    @property
    def is_held(self) -> bool:
        """True while a loop is running that notices a stop by itself; a signal handler has to end everything else."""
        return self._held > 0

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """Let a stop wait for `check` or `watch`, since what is going on must not be broken off."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    @property
    def is_stopped(self) -> bool:
        """True after `stop` was called."""
        return self._stopped

    def interrupted(self, what: str = "Stopped") -> Interrupted:
        """The error that ends a stopped run: `what`, and the reason."""
        return Interrupted(f"{what} ({self._reason})." if self._reason else f"{what}.", self._exit_code)

    def check(self) -> None:
        """Raise `Interrupted` if the session was stopped; for work between records."""
        if self.is_stopped:
            raise self.interrupted()

    @contextmanager
    def interruptible(self) -> Generator[None, None, None]:
        """Turn the KeyboardInterrupt by which a signal ends what notices no stop into `Interrupted`, so that whoever
        has written something can say so."""
        try:
            yield
        except KeyboardInterrupt:
            if self.is_stopped:
                raise self.interrupted() from None
            raise

    def watch(
        self, records: Iterable[AnyRecord], state: str = "outputs are complete up to that step"
    ) -> Iterator[AnyRecord]:
        """Pass records on; when the session is stopped, raise `Interrupted` after the record in hand.

        Figures that are read back from a trajectory have no picture; the stop then waits for a record that has one.
        `state` says what has become of the work so far. `run_sinks` enters what is returned as a context, so that a
        stop waits for the sinks too: they are closed before it ends.
        """
        return Watched(self, records, state)


class Watched(Iterator[AnyRecord]):
    """The records of a session that may be stopped, see `Session.watch`."""

    def __init__(self, session: Session, records: Iterable[AnyRecord], state: str) -> None:
        self.session, self.records, self.state = session, records, state
        self._flow = self._watched()
        self._hold = session.held()

    def _watched(self) -> Generator[AnyRecord, None, None]:
        session = self.session
        with session.held():
            if session.is_stopped:
                raise session.interrupted("Stopped before the first step")
            for record in self.records:
                yield record
                if session.is_stopped and record.is_complete:
                    raise session.interrupted(f"Stopped at step {record.index}; {self.state}")

    def __next__(self) -> AnyRecord:
        return next(self._flow)

    def __enter__(self) -> Watched:
        self._hold.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flow.close()
        self._hold.__exit__(None, None, None)
        if error is None and self.session.is_stopped:  # while the sinks were closed
            raise self.session.interrupted("Stopped after the last step; outputs are complete")
