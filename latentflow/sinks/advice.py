"""Says early what a run will cost, and what would make it cheaper."""

from collections.abc import Sequence
from types import TracebackType

from latentflow.files import part
from latentflow.interrupts import Say
from latentflow.records import Comparison, Step
from latentflow.sinks.frames import FrameSink

LONG_SECONDS = 120
LARGE_GIF_BYTES = 10_000_000
FIRST_JUDGED_FRAME = 8


class Advice:
    """Estimates the whole time after the first step, and a GIF's size after its first frames.

    `say` shows a line; `frames` is how many there will be, `shorter` what makes a run shorter.
    """

    def __init__(self, say: Say, frames: int, sink: FrameSink, shorter: Sequence[str] = ()) -> None:
        self.say, self.frames, self.shorter = say, frames, shorter
        self.gif = sink if sink.path.suffix.lower() == ".gif" else None
        self.judge_at = FIRST_JUDGED_FRAME

    def __enter__(self) -> "Advice":
        return self

    def write(self, record: Step | Comparison) -> None:
        """Judge by this record if it is time to."""
        if record.index == 0 and record.seconds * record.total > LONG_SECONDS:
            length = f"about {duration(record.seconds * record.total)} ({record.seconds:.2g} s a step)"
            self.say("; ".join([f"This will take {length}", *self.shorter]) + ".")
        if self.gif and self.frames > self.gif.frames >= self.judge_at:
            self.judge_at *= 2  # again later: ffmpeg is some frames behind, which counts less and less
            unfinished = part(self.gif.path)
            size = unfinished.stat().st_size if unfinished.exists() else 0
            expected = size / self.gif.frames * self.frames
            if expected > LARGE_GIF_BYTES:
                self.gif = None
                self.say(
                    f"The GIF will have about {expected / 1e6:.0f} MB; --skip_step, a smaller --size or an .mp4 "
                    "make it smaller."
                )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
