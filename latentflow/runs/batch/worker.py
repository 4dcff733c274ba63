"""Works on images: some of one size together in one forward pass, each with outputs of its own."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from latentflow.base.errors import InputError, Interrupted, LatentflowError, is_out_of_memory
from latentflow.base.files import writing
from latentflow.base.records import Step, until
from latentflow.base.session import Session
from latentflow.inversion.invert import Run, prepare_decoder
from latentflow.inversion.methods import choose
from latentflow.inversion.target import Target, read_target
from latentflow.latents.sources import initial_latent
from latentflow.models.memory import batch_size
from latentflow.pictures.reader import Reader
from latentflow.runs.batch.plan import BatchPlan, Item
from latentflow.runs.batch.table import Row, failed, succeeded
from latentflow.runs.job import load_for
from latentflow.runs.outputs import BESIDE_FRAMES
from latentflow.runs.plan import Plan, make_plan
from latentflow.runs.resume import read_checkpoint
from latentflow.runs.run import Outputs, open_outputs, run
from latentflow.sinks import Sink, run_sinks

FAILURES = (LatentflowError, OSError, MemoryError, RuntimeError)


@dataclass(frozen=True, slots=True)
class _Job:
    """An image that is ready: its target, and the latent to start from."""

    item: Item
    plan: Plan
    target: Target
    latent: Tensor


class SplitBatch(Sink[Step]):
    """Hands each image's part of a batch's records to its own sinks, and lets one fail without the others."""

    def __init__(self, outputs: Sequence[Outputs], goal: float | None) -> None:
        self.outputs, self.goal = outputs, goal
        self.stacks: list[ExitStack | None] = []
        self.errors: list[LatentflowError | None] = [None] * len(outputs)

    def open(self) -> None:
        """Open the sinks of every image."""
        for index, each in enumerate(self.outputs):
            stack = ExitStack()
            self.stacks.append(stack)
            try:
                for sink in each.sinks:
                    stack.enter_context(sink)
            except LatentflowError as error:
                self._fail(index, error)

    def write(self, record: Step) -> None:
        """Hand on one step of every image that is still at work."""
        for index, each in enumerate(self.outputs):
            if self.stacks[index] is None:
                continue
            one = record.of_image(index)
            try:
                for sink in each.sinks:
                    sink.write(one)
                if self.goal is not None and float(one.psnr[0]) >= self.goal:
                    self._close(index, None)
            except LatentflowError as error:
                self._fail(index, error)

    @property
    def is_at_work(self) -> bool:
        """True if any image still wants records."""
        return any(self.stacks)

    def _close(self, index: int, error: BaseException | None) -> None:
        stack, self.stacks[index] = self.stacks[index], None
        if stack is None:
            return
        if error is None:
            stack.close()
        else:
            stack.__exit__(type(error), error, error.__traceback__)

    def _fail(self, index: int, error: LatentflowError) -> None:
        self.errors[index] = error
        try:
            self._close(index, error)
        except LatentflowError:  # only the first one is reported
            return

    def close(self, error: BaseException | None) -> None:
        """Close what is still open."""
        for index in range(len(self.stacks)):
            try:
                self._close(index, error)
            except LatentflowError as own:
                self.errors[index] = own


def _is_of_one_image(error: BaseException) -> bool:
    """Tell whether an error becomes a row in the table; anything else is a bug, and ends the batch."""
    return isinstance(error, (LatentflowError, OSError)) or is_out_of_memory(error)


class Worker:
    """Works on images with a model that is loaded once."""

    def __init__(self, plan: BatchPlan, session: Session) -> None:
        self.plan, self.session = plan, session
        self.loaded = load_for(plan.config, session)
        self.start_reader = Reader(plan.config, session.say)  # what all images start from
        self.batch_sizes: dict[tuple[int, int], int] = {}  # how many images of a size go into one forward pass

    def work(self, items: Sequence[Item]) -> Iterator[Row]:
        """The rows of finished and failed images; raises `Interrupted` when told to stop."""
        ready: dict[tuple[int, int], list[_Job]] = {}
        for item in items:
            self.session.check()
            began = time.perf_counter()
            try:
                with writing(item.output, "`output_dir`"):
                    item.output.parent.mkdir(parents=True, exist_ok=True)
                plan = make_plan(self.plan.run_config(item))
                if self.plan.config.checkpoint_every or plan.checkpoint.exists():
                    with self.session.held():  # a result that is complete gets its row
                        row = self._alone(item, plan)
                    yield row
                    continue
                job = self._prepared(item, plan)
            except Interrupted:
                raise
            except FAILURES as error:
                if not _is_of_one_image(error):
                    raise
                yield failed(item, error, time.perf_counter() - began)
                continue
            size = job.target.size
            if size not in self.batch_sizes:
                prepare_decoder(plan.config, self.loaded.autoencoder, size, self.session)
                self.batch_sizes[size] = self._batch_size(size)
            waiting = ready.setdefault(size, [])
            waiting.append(job)
            if len(waiting) >= self.batch_sizes[size]:
                yield from self._together(ready.pop(size))
        for waiting in ready.values():
            self.session.check()
            yield from self._together(waiting)

    def _prepared(self, item: Item, plan: Plan) -> _Job:
        config, autoencoder = plan.config, self.loaded.autoencoder
        target = read_target(config, plan.image_path, Reader(config), autoencoder.device)
        start = (config.init, autoencoder, target.image, plan.seed, self.start_reader)
        return _Job(item, plan, target, initial_latent(*start, latent_of=config.latent_of))

    def _batch_size(self, size: tuple[int, int]) -> int:
        """Return the number of images of a size in one forward pass: as many as the options say, or as fit into
        memory."""
        config = self.plan.config
        if choose(config.method, config.optimizer, config.lr, config.steps).couples_batch:
            return 1
        return config.batch_size or batch_size(self.loaded.autoencoder, *size)

    def _alone(self, item: Item, plan: Plan) -> Row:
        """One image with checkpoints; from its checkpoint, if there is one that is good."""
        began = time.perf_counter()
        session = self.session
        checkpoint = None
        if plan.checkpoint.exists() and not self.plan.config.overwrite:
            try:
                checkpoint = read_checkpoint(plan.checkpoint)
                changed = self.plan.differences(item, checkpoint["facts"]["options"], BESIDE_FRAMES)
                if changed:
                    raise InputError(f"its checkpoint is of other options: {', '.join(changed)}.")
                report = run(plan, session, checkpoint=checkpoint, loaded=self.loaded)
            except InputError as error:
                session.say(f"{item.name} begins anew: {error}")
                checkpoint = None
        if checkpoint is None:
            report = run(plan, session, loaded=self.loaded)
        if report.error is not None:
            raise report.error
        notes = report.notes.of(plan.image_path)
        return succeeded(item, plan.seed, report.result, time.perf_counter() - began, notes)

    def _together(self, group: list[_Job]) -> Iterator[Row]:
        """Optimize images of one size in one forward pass; fewer, where memory doesn't suffice or one fails."""
        began = time.perf_counter()
        try:
            with self.session.held():
                rows = self._optimized(group)
        except Interrupted:
            raise
        except FAILURES as error:
            if not _is_of_one_image(error):
                raise
            if len(group) == 1:
                yield failed(group[0].item, error, time.perf_counter() - began)
                return
            half = len(group) // 2 if is_out_of_memory(error) else 1
            if is_out_of_memory(error):
                self.session.say(
                    f"{len(group)} images of a size are too many for the memory; going on with {half} together."
                )
            for first in range(0, len(group), half):
                yield from self._together(group[first : first + half])
            return
        yield from rows

    def _optimized(self, group: list[_Job]) -> list[Row]:
        began = time.perf_counter()
        config, loaded = group[0].plan.config, self.loaded
        target = Target.together([job.target for job in group])
        latent = torch.cat([job.latent for job in group])
        running = Run(config, target, loaded, [job.plan.seed for job in group], self.session, init=latent)
        outputs = [open_outputs(job.plan, loaded, job.target, running.label, session=self.session) for job in group]
        split, inversion = SplitBatch(outputs, config.target_psnr), running.inversion
        steps = until(inversion, lambda step: bool(inversion.ended) or not split.is_at_work)
        run_sinks(self.session.watch(steps), [split])
        seconds = (time.perf_counter() - began) / len(group)
        rows = []
        for job, each, error in zip(group, outputs, split.errors, strict=True):
            each.report.frames_written = each.frames.frames
            if error is not None:
                rows.append(failed(job.item, error, seconds))
            else:
                notes = job.target.notes.of(job.plan.image_path)
                rows.append(succeeded(job.item, job.plan.seed, each.report.result, seconds, notes))
        return rows
