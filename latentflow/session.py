"""What a run shares with whoever started it: loaded models, sentences for people, a progress meter, a flag to stop.

The command line makes one session for each command, an app or a notebook one for each run. Nothing in here needs the
main thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from latentflow.errors import Interrupted
from latentflow.records import AnyRecord

if TYPE_CHECKING:
    from latentflow.models.autoencoder import Autoencoder
    from latentflow.models.loading import Loaded, Models

Say = Callable[[str], None]
NOTHING_WRITTEN = "nothing is written yet"


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
        self.between_records = False  # whether a stop waits for the end of a record
        self._models, self._tune = models, tune
        self._stopped = False  # no Event: its lock may be held by the thread that a signal handler interrupts
        self._reason, self._exit_code = "", 130
        self._said: set[str] = set()

    @property
    def models(self) -> Models:
        """What is loaded, to be shared with other sessions."""
        if self._models is None:
            from latentflow.models.loading import Models

            self._models = Models(tune=self._tune)
        return self._models

    def load(
        self,
        vae: str | Autoencoder | None = None,
        weights: str = "auto",
        device: str = "auto",
        dtype: str = "auto",
        vae_config: str | None = None,
    ) -> Loaded:
        """The autoencoder that `vae` names or is, and the networks that go with it, from `models` if they are there.

        Says which weights stand in for others, and what was assumed of a file. Raises `InputError` for a device this
        machine doesn't have, `WeightsError` for weights that are missing or corrupt.
        """
        loaded = self.models.load(vae, weights, device, dtype, vae_config)
        if loaded.weights.notice:
            self.say(loaded.weights.notice)
        return loaded

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
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def interrupted(self, what: str = "Stopped") -> Interrupted:
        """The error that ends a stopped run: `what`, and the reason."""
        return Interrupted(f"{what} ({self._reason})." if self._reason else f"{what}.", self._exit_code)

    def check(self) -> None:
        """Raise `Interrupted` if the session was stopped; for work between records."""
        self.between_records = True
        if self.is_stopped:
            raise self.interrupted()

    def watch(
        self, records: Iterable[AnyRecord], state: str = "outputs are complete up to that step"
    ) -> Iterator[AnyRecord]:
        """Pass records on; when the session is stopped, raise `Interrupted` after the record in hand.

        Figures that are read back from a trajectory have no picture; the stop then waits for a record that has one.
        `state` says what has become of the work so far.
        """
        self.between_records = True
        if self.is_stopped:
            raise self.interrupted("Stopped before the first step")
        for record in records:
            yield record
            if self.is_stopped and record.is_complete:
                raise self.interrupted(f"Stopped at step {record.index}; {state}")
