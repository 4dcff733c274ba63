"""Estimates of a run's duration and of its GIF's size, early enough to stop and choose other options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from latentflow.base.files import temporary
from latentflow.sinks import FrameSink, Sink

if TYPE_CHECKING:
    from latentflow.base.records import Comparison, Step
    from latentflow.base.session import Say

LONG_SECONDS = 120
LARGE_GIF_BYTES = 10_000_000
FIRST_ESTIMATE = 8  # frames after which the size of a GIF is first estimated


class Advice(Sink[Any]):
    """Says after the first step when the run will take long, and after a few frames when its GIF will be large.

    `frames` is how many frames there will be; `shorter` says what would make the run shorter.
    """

    def __init__(self, say: Say, frames: int, sink: FrameSink, shorter: Sequence[str] = ()) -> None:
        self.say, self.frames, self.shorter = say, frames, shorter
        self.gif = sink if sink.path.suffix.lower() == ".gif" else None
        self.estimate_at = FIRST_ESTIMATE

    def write(self, record: Step | Comparison) -> None:
        """Estimate from this record, if it is time to."""
        if record.index == 0 and record.seconds * record.total > LONG_SECONDS:
            length = f"about {duration(record.seconds * record.total)} ({record.seconds:.2g} s per step)"
            self.say("; ".join([f"This will take {length}", *self.shorter]) + ".")
        if self.gif and self.frames > self.gif.frames >= self.estimate_at:
            self.estimate_at *= 2  # again later: ffmpeg lags by some frames, which matter less and less
            unfinished = temporary(self.gif.path)
            size = unfinished.stat().st_size if unfinished.exists() else 0
            expected = size / self.gif.frames * self.frames
            if expected > LARGE_GIF_BYTES:
                self.gif = None
                self.say(
                    f"The GIF will have about {expected / 1e6:.0f} MB; `skip_step`, a smaller `size` or an .mp4 "
                    "make it smaller."
                )


def duration(seconds: float) -> str:
    """A duration in the unit that suits it: "45 s", "12 min" or "3.2 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
