"""Frames spread evenly over what changes in the picture, and not over the steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from latentflow.base.records import Frame
from latentflow.sinks import Sink
from latentflow.sinks.sink import Stopped

if TYPE_CHECKING:
    from torch import Tensor

    from latentflow.base.session import Session

MARGIN = 4  # how many times as many latents are kept as there will be frames


class ResampleByChange(Sink[Any]):
    """Keeps a trajectory of latents and, when it ends, decodes and passes on `count` of its steps, between each of
    which the picture changes by nearly the same RMS distance; the first and the last are among them.

    No more than four times `count` latents are kept: where there are more steps, the latents nearest to their neighbors
    along the path are dropped. If the `session` is stopped meanwhile, resampling ends after the frame in hand.
    """

    def __init__(
        self, sink: Sink[Any], count: int, decode: Callable[[Tensor], Tensor], session: Session | None = None
    ) -> None:
        self.sink, self.count, self.decode, self.session = sink, count, decode, session
        self.kept: list[tuple[float, Frame]] = []  # without its picture, with the length of the path up to there
        self.before: Tensor | None = None
        self.length = 0.0

    def open(self) -> None:
        """Open the sink it passes frames to."""
        self.sink.open()

    def write(self, record: Frame) -> None:
        """Keep the latent, and how far the picture has come."""
        image = record.image.clamp(0, 1)
        if self.before is not None:
            self.length += float((image - self.before).square().mean().sqrt())
        self.before = image
        self.kept.append((self.length, replace(record, image=image.new_empty(0))))
        if len(self.kept) > MARGIN * max(2, self.count):
            gaps = [after - before for (before, *_), (after, *_) in zip(self.kept[:-2], self.kept[2:])]
            del self.kept[1 + int(np.argmin(gaps))]

    def _chosen(self) -> list[Frame]:
        lengths = np.array([length for length, *_ in self.kept])
        wanted = np.linspace(0, lengths[-1], max(2, self.count))
        nearest = {int(np.abs(lengths - each).argmin()) for each in wanted} | {0, len(lengths) - 1}
        return [self.kept[index][1] for index in sorted(nearest)]

    def close(self, error: BaseException | None) -> None:
        """Decode the chosen latents, pass them on, and close the sink."""
        import torch

        stopped = Stopped(self.session, error)
        try:
            with torch.no_grad():
                for frame in stopped.before(self._chosen() if self.kept else []):
                    self.sink.write(replace(frame, image=self.decode(frame.latent)))
            stopped.check("there are fewer frames")
        finally:
            self.sink.close(error)
