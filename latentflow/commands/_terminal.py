"""The command line's session: sentences and progress on stderr, Ctrl-C and SIGTERM as one source of `stop`."""

import codecs
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from latentflow.base.errors import Interrupted, as_options

if TYPE_CHECKING:
    from latentflow.base.session import Session

SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "terminated"}
# What a terminal or a pipe that isn't UTF-8 gets instead; anything else becomes a question mark.
PLAIN = {
    "→": "->",
    "²": "^2",
    "×": "x",
    "σ": "sigma",
    "−": "-",
    "·": "*",
    "ρ": "rho",
    "…": "...",
    "±": "+-",
    "½": "1/2",
}
ERRORS = "latentflow_plain"


def write_any_encoding() -> None:
    """Let stdout and stderr write what their encoding lacks as plain ASCII, so that no finished work ends in an
    error. Bytes in the names of files that are no text are written as they are."""

    def plain(error: UnicodeError) -> tuple[str | bytes, int]:
        if not isinstance(error, UnicodeEncodeError):  # a stream that is read again, as a test's is
            return codecs.lookup_error("surrogateescape")(error)
        lacking = error.object[error.start]
        is_byte = "\udc80" <= lacking <= "\udcff"  # as surrogateescape has it
        return bytes([ord(lacking) - 0xDC00]) if is_byte else PLAIN.get(lacking, "?"), error.start + 1

    codecs.register_error(ERRORS, plain)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # whatever stands in for a stream may lack it
        if reconfigure is not None:
            reconfigure(errors=ERRORS)


def say(line: str) -> None:
    """A line on stderr; at a terminal it takes the place of the progress line, which is drawn again below it."""
    click.echo(("\r\x1b[K" if sys.stderr.isatty() else "") + f"latentflow: {as_options(line)}", err=True)


class Bar:
    """A tqdm line on stderr: the number of the record, a few words, and the time left."""

    def __init__(self, total: int, unit: str) -> None:
        from tqdm import tqdm

        self._line: Any = tqdm(
            total=total,
            desc=unit,
            file=sys.stderr,
            dynamic_ncols=True,
            leave=False,
            bar_format="{desc} {n_fmt}/{total_fmt} {bar} {postfix}, {remaining} left",
        )

    def update(self, done: int, text: str) -> None:
        """Show a record."""
        self._line.n = done
        self._line.set_postfix_str(text)

    def close(self) -> None:
        """Clear the line."""
        self._line.close()


def start_bar(total: int, unit: str) -> Bar | None:
    """A progress line where stderr is a terminal."""
    return Bar(total, unit) if sys.stderr.isatty() else None


class Terminated(KeyboardInterrupt):
    """SIGTERM, as what Ctrl-C is."""


def interrupted_by(error: KeyboardInterrupt) -> Interrupted:
    """The line and the exit code of what a signal ended."""
    number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
    return Interrupted(f"Stopped ({SIGNALS[number]}).", 128 + number)


@contextmanager
def termination_raises() -> Iterator[None]:
    """Let SIGTERM raise `Terminated`, for what has no session; handlers belong to the main thread."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def terminal_session(*, quiet: bool = False) -> "Iterator[Session]":
    """A session of this process, which SIGINT and SIGTERM stop.

    While records flow, the first signal waits for the one in hand, and for the outputs to be closed. Everywhere else,
    and the second time, it raises KeyboardInterrupt on its way up, which no `except Exception` of a library swallows;
    it leaves as `Interrupted`.
    """
    from latentflow.base.session import Session, no_meter

    session = Session(say, no_meter if quiet else start_bar, tune=True, quiet=quiet)

    def stop(number: int, frame: FrameType | None) -> None:
        again = session.is_stopped
        session.stop(SIGNALS[signal.Signals(number)], 128 + number)
        if again or not session.is_held:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        with session.interruptible():
            yield session
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
