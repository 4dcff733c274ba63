"""Pictures from prompts of a visitor, as they are made and after."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from latentflow.app.jobs import Job
from latentflow.app.visits import Visit
from latentflow.base.options import command_line
from latentflow.base.pixels import to_jpeg
from latentflow.explore.walk import where
from latentflow.prompts.config import PromptsConfig
from latentflow.prompts.run import run_prompts
from latentflow.prompts.stops import parse_stops


class Prompted:
    """A run of the command `prompts` for a visitor: the pictures of a walk while they are generated, the place of each
    in words, and the files. Raises `InputError` for prompts that make no sense, and when too many jobs wait."""

    def __init__(self, visit: Visit, texts: Sequence[str], config: PromptsConfig) -> None:
        self.visit, self.texts, self.config = visit, list(texts), config
        names = [str(stop) for stop in parse_stops(texts)]
        self.names = [*names, names[0]] if config.loop else names
        self.folder = visit.new_folder()
        self.output = self.folder / Path(config.output_path).name
        self.files: dict[str, str] = {}  # name → address, when it is done
        self._pictures: dict[float, str] = {}
        self.job = visit.job(self._work)

    def line(self) -> str:
        """The command line that makes the same."""
        named = self.visit.studio.named(self.config)
        config = replace(self.config, model=named["model"], device=named["device"])  # types are the pipeline's own
        return command_line("prompts", self.texts, config)

    def pictures(self) -> tuple[list[str], list[str]]:
        """The addresses of the pictures that are there by now, in the order of the walk, and where each is."""
        for path in self.output.with_name(self.output.stem + ".pictures").glob("*.png"):
            position = float(path.stem)
            if position not in self._pictures:
                self._pictures[position] = self._address(path)
        order = sorted(self._pictures)
        return [self._pictures[position] for position in order], [where(position, self.names) for position in order]

    def close(self) -> None:
        """End it, and forget what it showed."""
        self.job.stop()
        self.visit.studio.media.drop(self.visit.owner, [*self._pictures.values(), *self.files.values()])
        shutil.rmtree(self.folder, ignore_errors=True)

    def _address(self, path: Path) -> str:
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            return self.visit.studio.media.picture(self.visit.owner, to_jpeg(np.asarray(image.convert("RGB"))))

    def _work(self, job: Job) -> None:
        studio = self.visit.studio
        config = replace(self.config, output_path=str(self.output))
        with studio.prompting(job.session) as model:
            report = run_prompts(self.texts, config, job.session, model)
        shown = [path for path in sorted(self.folder.iterdir()) if path.is_file()]
        self.files = {path.name: studio.media.file(self.visit.owner, path) for path in shown}
        if report.error is not None:
            raise report.error
