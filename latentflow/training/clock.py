"""The time of a training, all of which counts towards its limit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from latentflow.base.errors import InputError

FIRST_ESTIMATE = 0.05  # of the limit: how long data are prepared before it is said that this takes too long


class Clock:
    """Counts the seconds of a training, in this process from `began` on (by `time.perf_counter`).

    `trained` are the seconds of updates; the learning rate falls by them. Everything else, such as drawing images,
    compiling and validating, leaves less time for updates, and so does what is `reserved` for the report at the end.
    """

    def __init__(self, max_minutes: float | None = None, began: float | None = None) -> None:
        self.max_minutes = max_minutes
        self.limit = math.inf if max_minutes is None else 60 * max_minutes
        self.began = time.perf_counter() if began is None else began
        self.earlier = self.trained = self.reserved = self.last = 0.0

    @property
    def seconds(self) -> float:
        """All seconds so far, also those before the training was resumed."""
        return self.earlier + time.perf_counter() - self.began

    @property
    def is_limited(self) -> bool:
        """True where there is a limit."""
        return self.max_minutes is not None

    def progress(self) -> float:
        """The fraction in [0, 1] of the time for updates that is over; 0 without a limit."""
        if not self.is_limited:
            return 0.0
        for_updates = self.limit - self.reserved - self.last - (self.seconds - self.trained)
        return min(1.0, self.trained / for_updates) if for_updates > 0 else 1.0

    def took(self, seconds: float) -> None:
        """Count an update; none begins that would take as long and end too late."""
        self.trained += seconds
        self.last = seconds

    def state(self) -> dict[str, float]:
        """The seconds of updates and those of everything else, for a checkpoint."""
        return {"seconds": self.trained, "other_seconds": self.seconds - self.trained}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from a `state()`; one of 0.1.0 has the seconds of updates alone."""
        self.trained = state["seconds"]
        self.earlier = self.trained + state.get("other_seconds", 0.0)

    def preparing(self, count: int, at_once: int, check: Callable[[], None]) -> Callable[[], None]:
        """A function to call after each `at_once` of `count` images; it calls `check`, and raises `InputError` once it
        is clear that the images take longer than the limit."""
        began, calls = self.seconds, 0

        def prepared() -> None:
            nonlocal calls
            check()
            calls += 1
            spent = self.seconds - began
            whole = spent * max(1.0, count / (calls * at_once))
            if spent > FIRST_ESTIMATE * self.limit and began + whole > self.limit:
                raise InputError(
                    f"Preparing {count} images takes about {whole / 60:.1f} minutes, and `max_minutes` is "
                    f"{self.max_minutes:g}.",
                    "Take fewer images, or more minutes.",
                )

        return prepared

    def require_time(self, step: int = 0) -> None:
        """Raise `InputError` where no time is left before the first step."""
        if step == 0 and self.progress() >= 1:
            raise InputError(
                f"`max_minutes` {self.max_minutes:g} is over before the first step: images and model took "
                f"{self.seconds:.0f} seconds, and the report takes about {self.reserved:.0f}.",
                "Give more minutes.",
            )
