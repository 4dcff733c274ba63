"""Everything that can go wrong and is not a bug.

    LatentflowError
    ├── InputError            2   bad input or usage
    │   └── FormatVersionError    a file of a newer version
    ├── MissingPackageError   3   an optional package is missing or broken
    ├── WeightsError          4   weights missing or corrupt
    ├── DivergedError         5   the optimization left the finite
    ├── OutputError           6   output can't be written
    ├── OutOfMemoryError      7
    └── Interrupted           130 Ctrl-C, 143 terminated

A message says what happened, with values; the remedy says what to do. Parameters stand in backticks, as in "`size` must
be at least 1": that is what a caller from Python knows, and the command line shows --size. `latentflow.cli` turns each
error into one line on stderr and its exit code; any other exception is a bug and shows its traceback.
"""

import re

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "could not create a primitive")
PARAMETER = re.compile(r"`([a-z]\w*)`")


def as_options(text: str) -> str:
    """A sentence of the library as the command line says it: parameters, which stand in backticks, as options."""
    return PARAMETER.sub(lambda match: f"--{match[1].rstrip('_')}", text)  # as_, since as is a word of Python's


class LatentflowError(Exception):
    """An error of this package: a message that says what happened, and a `remedy` that says what the user can do.
    `exit_code` is the command's; `parameter` is the first one that the message names."""

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(_ended_once(message))
        self.remedy = _ended_once(remedy)

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} {self.remedy}" if self.remedy else message

    @property
    def parameter(self) -> str | None:
        """The parameter that is wrong, such as "size", if the message names one."""
        found = PARAMETER.search(super().__str__())
        return found[1] if found else None


class InputError(LatentflowError):
    """Bad input or usage: an option, an image, a latent, a manifest."""

    exit_code = 2


class FormatVersionError(InputError):
    """A file was written by a newer version of this program."""


class MissingPackageError(LatentflowError):
    """A package that only this output, loss or command needs is missing or broken."""

    exit_code = 3


class WeightsError(LatentflowError):
    """Weights are missing, cut short, of the wrong kind, or don't have the hash they should have."""

    exit_code = 4


class DivergedError(LatentflowError):
    """Loss, gradient or latent left the finite, or the latent's RMS passed 100."""

    exit_code = 5


class OutputError(LatentflowError):
    """An output can't be written."""

    exit_code = 6


class OutOfMemoryError(LatentflowError):
    """The machine or the device ran out of memory."""

    exit_code = 7


class Interrupted(LatentflowError):
    """The run was stopped, by a signal or by `Session.stop`; after a signal `exit_code` is 128 plus its number."""

    def __init__(self, message: str, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def _render_traceback_(self) -> list[str]:
        """The lines that a notebook shows, without a traceback: whoever interrupts knows where."""
        return [str(self)]


def _ended_once(text: str) -> str:
    """A text without the full stop that follows the end of a quoted sentence, as in "…?." and "….."."""
    twice = text.endswith(("?.", "!.")) or (text.endswith("..") and not text.endswith(("...", "/..", " ..")))
    return text[:-1] if twice else text


def first_line(error: BaseException) -> str:
    """The first line of an error's message without its full stop, or the name of its class where it has no message."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether the machine or the device ran out of memory: torch has a class of its own for a device's memory, and
    on a CPU only messages, of its own and of oneDNN."""
    words = str(error)
    return isinstance(error, MemoryError) or any(each in words for each in OUT_OF_MEMORY)
