"""A view of a visitor: the command of that name, computed in a job, with its frames and files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from latentflow.app.jobs import Job
from latentflow.app.visits import Visit
from latentflow.base.options import command_line
from latentflow.base.pixels import to_jpeg, to_uint8
from latentflow.base.records import Comparison, Labeled
from latentflow.explore.views import VIEWS
from latentflow.models.config import ModelOptions
from latentflow.pictures.draw import LabeledDrawing, panels, tiled
from latentflow.runs.compare import run_compare
from latentflow.runs.config import CompareConfig


class Show:
    """The outcome of a view's command, or of `compare`, while it is computed and after.

    `names` gives the text to write instead of a path in the line that makes the same. With `collect`, the pictures of
    its moving part are kept as `frames`: addresses for a browser, each with its caption. Raises `InputError` when too
    many jobs wait.
    """

    def __init__(
        self,
        visit: Visit,
        command: str,
        sources: Sequence[str],
        config: ModelOptions | CompareConfig,
        names: Mapping[str, str],
        *,
        collect: bool = False,
        kind: str = "run",
    ) -> None:
        self.visit, self.command, self.sources, self.config, self.names = visit, command, sources, config, dict(names)
        self.folder = visit.new_folder()
        self.frames: list[str] = []
        self.captions: list[str] = []
        self.files: dict[str, str] = {}  # name → address, when it is done
        self.report: Any = None
        self._picture = ""
        self.job = visit.job(self._work, self._keep if collect else self._shown, kind=kind)
        self.live = visit.studio.media.live(visit.owner, self.job, drawn, lambda record: {"state": self.job.progress})

    def line(self) -> str:
        """The command line that makes the same."""
        config: Any = self.config
        config = replace(config, **self.visit.studio.named(config))
        return command_line(self.command, [*self.sources], config, self.names)

    def path(self, suffix: str) -> Path:
        """The file of that suffix; raises `StopIteration` when there is none."""
        return next(path for path in sorted(self.folder.iterdir()) if path.name.endswith(suffix))

    def picture(self) -> str:
        """The address of the last picture that was shown, when it is done."""
        if self.job.is_going_on or self.job.newest is None:
            return ""
        if not self._picture:
            self._picture = self.visit.studio.media.picture(self.visit.owner, to_jpeg(drawn(self.job.newest)))
        return self._picture

    def close(self) -> None:
        """End it, and forget what it showed."""
        self.job.stop()
        self.visit.studio.media.drop(self.visit.owner, [*self.frames, *self.files.values(), self.live, self._picture])
        shutil.rmtree(self.folder, ignore_errors=True)

    def _work(self, job: Job) -> None:
        config: Any = self.config
        config = replace(config, output_path=str(self.folder / Path(config.output_path).name))
        if hasattr(config, "index"):  # nothing is written beside the folder
            config = replace(config, index=str(self.visit.new_folder() / "index.safetensors"))
        if isinstance(config, CompareConfig):
            self.report = run_compare([], config, job.session)
        else:
            self.report = VIEWS[self.command].run(self.sources, config, job.session)
        media, owner = self.visit.studio.media, self.visit.owner
        shown = [path for path in sorted(self.folder.iterdir()) if path.is_file()]
        self.files = {path.name: media.file(owner, path) for path in shown}
        if self.report.error is not None:
            raise self.report.error

    def _shown(self, job: Job, record: Any) -> None:
        if isinstance(record, Labeled | Comparison):
            job.show(record)

    def _keep(self, job: Job, record: Any) -> None:
        if isinstance(record, Labeled):
            self.frames.append(self.visit.studio.media.picture(self.visit.owner, to_jpeg(to_uint8(record.image))))
            self.captions.append(", ".join(record.caption))
            job.show(record)


def drawn(record: Any) -> np.ndarray:
    """The picture of a frame of a view or of a comparison."""
    if isinstance(record, Comparison):
        steps = record.steps
        titles = [[name, f"{float(step.psnr[0]):.2f} dB"] for name, step in steps.items()]
        return tiled(panels([to_uint8(step.image) for step in steps.values()], titles))
    return LabeledDrawing()(record)
