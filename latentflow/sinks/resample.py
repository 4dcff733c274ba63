"""Frames spread evenly over what changes in the picture, and not over the steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from latentflow.records import Step
    from latentflow.sinks import Sink

MARGIN = 4  # how many times as many latents are kept as there will be frames


class ResampleByChange:
    """Keeps a trajectory of latents and, when it ends, decodes and passes on `count` of its steps, between each of
    which the picture changes by nearly the same RMS distance; the first and the last are among them.

    No more than four times `count` latents are kept: where there are more steps, those go that are nearest to their
    neighbours along the way.
    """

    def __init__(self, sink: Sink[Any], count: int, decode: Callable[[Tensor], Tensor]) -> None:
        self.sink, self.count, self.decode = sink, count, decode
        self.kept: list[tuple[float, Step]] = []  # the way so far, and the step without its picture
        self.before: Tensor | None = None
        self.way = 0.0

    def __enter__(self) -> ResampleByChange:
        self.sink.__enter__()
        return self

    def write(self, record: Step) -> None:
        """Keep the latent, and how far the picture has come."""
        image = record.image.clamp(0, 1)
        if self.before is not None:
            self.way += float((image - self.before).square().mean().sqrt())
        self.before = image
        self.kept.append((self.way, replace(record, image=record.image.new_empty(1, 3, 0, 0))))
        if len(self.kept) > MARGIN * max(2, self.count):
            gaps = [after - before for (before, _), (after, _) in zip(self.kept[:-2], self.kept[2:])]
            del self.kept[1 + int(np.argmin(gaps))]

    def _chosen(self) -> list[Step]:
        ways = np.array([way for way, _ in self.kept])
        wanted = np.linspace(0, ways[-1], max(2, self.count))
        nearest = {int(np.abs(ways - each).argmin()) for each in wanted} | {0, len(ways) - 1}
        return [self.kept[index][1] for index in sorted(nearest)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import torch

        try:
            with torch.no_grad():
                for step in self._chosen() if self.kept else []:
                    self.sink.write(replace(step, image=self.decode(step.latent)))
        finally:
            self.sink.__exit__(kind, error, trace)
