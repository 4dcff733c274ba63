"""A flow of a visitor: a run that is watched, stopped, continued and branched, and what can be downloaded of it."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from latentflow.app.jobs import Job
from latentflow.app.visits import Upload, Visit
from latentflow.base.errors import InputError
from latentflow.base.options import command_line
from latentflow.base.pixels import to_jpeg, to_uint8
from latentflow.base.records import Step
from latentflow.inversion.config import RunConfig
from latentflow.inversion.invert import Run
from latentflow.latents.files import save_latent
from latentflow.runs.config import RenderConfig
from latentflow.runs.plan import Plan, make_plan
from latentflow.runs.render import render
from latentflow.runs.report import Report
from latentflow.runs.run import begin
from latentflow.sinks import Sink, run_sinks
from latentflow.sinks.manifest import write_manifest
from latentflow.sinks.save_best import save_image
from latentflow.sinks.trajectory import Trajectory


class Flow:
    """One run towards an image, with what a visitor may do with it.

    `state` is that of the job in hand, `history` has index, total, loss and PSNR (dB) of every step. Raises
    `InputError` for options that don't go together.
    """

    def __init__(self, visit: Visit, image: Upload, config: RunConfig, branched: str = "") -> None:
        self.visit, self.image, self.branched = visit, image, branched
        self.folder = visit.new_folder()
        paths: dict[str, Any] = {"image_path": str(image.path), "output_path": str(self.folder / "flow.gif")}
        by_method = {name: getattr(config, name) for name in ("optimizer", "lr", "betas")}
        self.asked = {name: value for name, value in by_method.items() if value is not None}
        self.plan: Plan = make_plan(replace(config, **paths))
        self.run: Run | None = None
        self.history: list[dict[str, float]] = []
        self.job: Job | None = None
        self.live = ""
        self.key = secrets.token_hex(4)  # of its widgets
        self.files: dict[str, str] = {}  # kind → address
        self._picture = (-1, "")  # the step that is shown while it isn't running, and its address

    @property
    def state(self) -> str:
        """waiting, running, stopped, finished or failed."""
        if self.job is None:
            return "stopped"
        if self.job.is_going_on or self.job.state == "failed":
            return self.job.state
        return "finished" if self.run is not None and self.run.is_finished else "stopped"

    @property
    def title(self) -> str:
        """The title of this run where there are several."""
        config = self.plan.config
        return f"{self.image.stem}, {config.loss_type}, {config.method}, seed {self.plan.seed}{self.branched}"

    def go_on(self, press: object = None) -> None:
        """Begin, or continue from exactly where it was stopped; flows of one `press` wait together. Raises `InputError`
        when too many visitors wait."""
        if self.state in ("waiting", "running", "finished"):
            return
        self.job = self.visit.job(self._work, press=press)
        media, owner = self.visit.studio.media, self.visit.owner
        media.drop(owner, [self.live, *self.files.values()])
        self.files = {}
        self.live = media.live(owner, self.job, lambda step: to_uint8(step.image), figures)

    def stop(self) -> None:
        """End it after the step in hand; it can go on."""
        if self.run is not None and self.state == "running":
            self.run.stop()
        elif self.job is not None:  # it waits, or is about to begin
            self.job.stop()

    def branch(self, loss: str) -> Flow:
        """A flow with another loss that begins with this one's last latent; raises `InputError`."""
        path = self.visit.new_folder() / "flow.safetensors"  # of the branch: this run may go on
        self.file("latent").replace(path)
        step = self.history[-1]["index"]
        config = replace(self.plan.config, loss_type=loss, init=str(path))
        flow = Flow(self.visit, self.image, config, f", from step {step} of {self.plan.config.loss_type}")
        flow.asked = self.asked
        flow.go_on()
        return flow

    def line(self) -> str:
        """The command line that makes the same."""
        names = {str(self.image.path): self.image.name, str(self.folder / "flow.gif"): "flow.gif"}
        config = replace(self.plan.config, optimizer=None, lr=None, betas=None)
        asked = replace(config, **self.asked)
        if self.plan.config.init.endswith(".safetensors"):
            names[self.plan.config.init] = Path(self.plan.config.init).name
        return command_line("", [], replace(asked, **self.visit.studio.named(asked)), names)

    def picture(self) -> str:
        """The address of the newest picture; empty before the first step and while it runs."""
        if self.state in ("waiting", "running") or self.run is None or self.run.last is None:
            return ""
        media, owner, step = self.visit.studio.media, self.visit.owner, self.run.last
        if self._picture[0] != step.index:
            media.drop(owner, [self._picture[1]])
            self._picture = (step.index, media.picture(owner, to_jpeg(to_uint8(step.image))))
        return self._picture[1]

    def close(self) -> None:
        """End it, and forget what it showed."""
        self.stop()
        self.visit.studio.media.drop(self.visit.owner, [self.live, self._picture[1], *self.files.values()])
        shutil.rmtree(self.folder, ignore_errors=True)

    def file(self, kind: str) -> Path:
        """A file of the run so far: gif, mp4, latent, image or manifest. Raises what writing it raises."""
        assert self.run is not None and self.run.last is not None
        suffixes = {"latent": ".safetensors", "image": ".png"}
        path = self.plan.manifest if kind == "manifest" else self.folder / f"flow{suffixes.get(kind, '.' + kind)}"
        if kind in ("gif", "mp4"):
            config = RenderConfig(output_path=str(path), overwrite=True)
            job = self.visit.job(partial(self._render, config), kind="file")
            job.ended.wait()
            if job.error:
                raise InputError(job.error)
        elif kind == "latent":
            save_latent(path, self.run.last.latent, self.run.loaded.autoencoder, self.run.size)
        elif kind == "image":
            save_image(path, self.run.last.image)
        else:
            self._write_manifest(path)
        return path

    def _render(self, config: RenderConfig, job: Job) -> None:
        render([str(self.plan.trajectory)], config, job.session)

    def _write_manifest(self, path: Path) -> None:
        report = self._report()
        assert self.run is not None
        report.first, report.last, report.seconds = self.run.first, self.run.last, self.run.seconds
        facts = report.facts()
        facts["options"] |= {"image_path": self.image.name, "output_path": "flow.gif"}
        outcome = "done" if self.state == "finished" else "stopped"
        write_manifest(path, {**facts, "outcome": outcome, "result": report.result}, [])

    def _report(self) -> Report:
        run = self.run
        assert run is not None
        return Report(self.plan, run.loaded, run.target, run.label)

    def _work(self, job: Job) -> None:
        if self.run is None:
            self.run = begin(self.plan, self.visit.studio.load(), job.session)
        self.run.session = job.session
        every = Trajectory(self.plan.trajectory, self._report().facts(), 1, self.run.inversion.index)
        if job.session.is_stopped:
            raise job.session.interrupted()
        if not self.run.is_finished:
            run_sinks(self.run, [every, _Watched(self.history, job.show)])


class _Watched(Sink[Step]):
    """Keeps the figures of each step, and shows it."""

    def __init__(self, history: list[dict[str, float]], show: Callable[[Step], None]) -> None:
        self.history, self.show = history, show

    def write(self, record: Step) -> None:
        """Keep and show one."""
        self.history.append(figures(record))
        self.show(record)


def figures(step: Step) -> dict[str, float]:
    """Return the figures that stand beside the picture of a step."""
    psnr = float(np.clip(float(step.psnr[0]), -100, 200))  # JSON has no infinity
    return {"index": step.index, "total": step.total, "loss": float(step.loss[0]), "psnr": psnr}
