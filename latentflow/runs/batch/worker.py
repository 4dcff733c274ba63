"""Works on images: some of one size together in one forward pass, each with outputs of its own."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from latentflow.errors import InputError, Interrupted, LatentflowError, is_out_of_memory
from latentflow.files import writing
from latentflow.inversion.invert import loss_label, make_inversion, make_objective, planned_target, prepare_decoder
from latentflow.inversion.methods import choose
from latentflow.latents.sources import initial_latent
from latentflow.models.memory import batch_size
from latentflow.pictures.reader import Notes, Reader
from latentflow.records import Step, until
from latentflow.runs.batch.plan import BatchPlan, Item
from latentflow.runs.batch.table import Row, failed, succeeded
from latentflow.runs.outputs import BESIDE_FRAMES
from latentflow.runs.plan import Plan, make_plan
from latentflow.runs.resume import read_checkpoint
from latentflow.runs.run import Outputs, load_for, open_outputs, run
from latentflow.session import Session
from latentflow.sinks import Sink, run_sinks

FAILURES = (LatentflowError, OSError, MemoryError, RuntimeError)


@dataclass(frozen=True, slots=True)
class _Job:
    """An image that is ready: its target (1, 3, h, w) and mask, the latent to start from, notes on reading it."""

    item: Item
    plan: Plan
    target: Tensor
    mask: Tensor | None
    latent: Tensor
    notes: Notes

    @property
    def size(self) -> tuple[int, int]:
        return self.target.shape[-2], self.target.shape[-1]


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
        """Whether any image still wants records."""
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
        except LatentflowError:  # the first one is what is told
            return

    def close(self, error: BaseException | None) -> None:
        """Close what is still open."""
        for index in range(len(self.stacks)):
            try:
                self._close(index, error)
            except LatentflowError as own:
                self.errors[index] = own


def _is_of_one_image(error: BaseException) -> bool:
    """Whether an error is a row in the table; anything else is a bug, and ends the batch."""
    return isinstance(error, (LatentflowError, OSError)) or is_out_of_memory(error)


class Worker:
    """Works on images with a model that is loaded once."""

    def __init__(self, plan: BatchPlan, session: Session) -> None:
        self.plan, self.session = plan, session
        self.loaded = load_for(plan.config, session)
        self.start_reader = Reader(plan.config, session.say)  # what all images start from
        self.batch_sizes: dict[tuple[int, int], int] = {}  # how many images of a size go into one forward pass

    def work(self, items: Sequence[Item]) -> Iterator[Row]:
        """The rows of images whose results are written, or that failed; raises `Interrupted` when told to stop."""
        ready: dict[tuple[int, int], list[_Job]] = {}
        for item in items:
            began = time.perf_counter()
            try:
                with writing(item.output, "`output_dir`"):
                    item.output.parent.mkdir(parents=True, exist_ok=True)
                plan = make_plan(self.plan.run_config(item))
                if self.plan.config.checkpoint_every or plan.checkpoint.exists():
                    yield self._alone(item, plan)
                    continue
                job = self._prepared(item, plan)
            except Interrupted:
                raise
            except FAILURES as error:
                if not _is_of_one_image(error):
                    raise
                yield failed(item, error, time.perf_counter() - began)
                continue
            if job.size not in self.batch_sizes:
                prepare_decoder(plan.config, self.loaded.autoencoder, job.size, self.session)
                self.batch_sizes[job.size] = self._batch_size(job.size)
            waiting = ready.setdefault(job.size, [])
            waiting.append(job)
            if len(waiting) >= self.batch_sizes[job.size]:
                yield from self._together(ready.pop(job.size))
        for waiting in ready.values():
            yield from self._together(waiting)

    def _prepared(self, item: Item, plan: Plan) -> _Job:
        config, autoencoder, reader = plan.config, self.loaded.autoencoder, Reader(plan.config)
        target, mask = planned_target(config, plan.image_path, reader, autoencoder.device)
        latent = initial_latent(
            *(config.init, autoencoder, target, plan.seed, self.start_reader), latent_of=config.latent_of
        )
        return _Job(item, plan, target, mask, latent, reader.notes)

    def _batch_size(self, size: tuple[int, int]) -> int:
        """How many images of a size go into one forward pass: as many as was said, or as memory has room for."""
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
        target = torch.cat([job.target for job in group])
        masks = [job.mask for job in group if job.mask is not None]
        mask = torch.cat(masks) if masks else None  # all have one, or none has
        objective = make_objective(config.loss_type, target, loaded.networks, self.session, mask)
        label = loss_label(config, objective)
        outputs = [open_outputs(job.plan, loaded, job.target, label, job.notes, job.mask) for job in group]
        split = SplitBatch(outputs, config.target_psnr)
        latent = torch.cat([job.latent for job in group])
        inversion = make_inversion(config, loaded.autoencoder, objective, latent)
        steps = until(inversion, lambda step: bool(inversion.ended) or not split.is_at_work)
        run_sinks(self.session.watch(steps), [split])
        seconds = (time.perf_counter() - began) / len(group)
        rows = []
        for job, each, error in zip(group, outputs, split.errors, strict=True):
            each.report.frames_written = each.frames.frames
            if error is not None:
                rows.append(failed(job.item, error, seconds))
            else:
                notes = job.notes.of(job.plan.image_path)
                rows.append(succeeded(job.item, job.plan.seed, each.report.result, seconds, notes))
        return rows
