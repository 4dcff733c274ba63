"""Works on images: some of one size together in one forward pass, each with outputs of its own."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType

import torch

from latentflow.errors import InputError, Interrupted, LatentflowError, is_out_of_memory
from latentflow.files import writing
from latentflow.interrupts import Interrupts, Say
from latentflow.models.device import free_memory
from latentflow.models.memory import update_bytes
from latentflow.records import Step, until
from latentflow.runs.batch.plan import OUTPUTS, BatchPlan, Item
from latentflow.runs.batch.table import Row, failed, succeeded
from latentflow.runs.plan import Plan, make_plan
from latentflow.runs.resume import read_checkpoint
from latentflow.runs.run import (
    Loaded,
    Outputs,
    Scene,
    load,
    loss_label,
    make_objective,
    make_optimization,
    open_outputs,
    run,
    set_up,
    spare,
)
from latentflow.sinks import run_sinks

LARGEST_BATCH = {"cpu": 4}  # a CPU gains nothing from more, and little from these
LARGEST_BATCH_ELSEWHERE = 32


_Job = tuple[Item, Plan, Scene]


class Share:
    """A sink of a batch's records: hands each image's part to its own sinks, and lets one fail without the others."""

    def __init__(self, outputs: Sequence[Outputs], goal: float | None) -> None:
        self.outputs, self.goal = outputs, goal
        self.stacks: list[ExitStack | None] = []
        self.errors: list[LatentflowError | None] = [None] * len(outputs)

    def __enter__(self) -> "Share":
        for index, each in enumerate(self.outputs):
            stack = ExitStack()
            self.stacks.append(stack)
            try:
                for sink in each.sinks:
                    stack.enter_context(sink)
            except LatentflowError as error:
                self._fail(index, error)
        return self

    def write(self, record: Step) -> None:
        """Hand on one step of every image that is still at work."""
        for index, each in enumerate(self.outputs):
            if self.stacks[index] is None:
                continue
            one = part_of(record, index)
            try:
                for sink in each.sinks:
                    sink.write(one)
                if self.goal is not None and float(one.psnr[0]) >= self.goal:
                    self._close(index, None)
            except LatentflowError as error:
                self._fail(index, error)

    @property
    def at_work(self) -> bool:
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for index in range(len(self.stacks)):
            try:
                self._close(index, error)
            except LatentflowError as own:
                self.errors[index] = own


def part_of(record: Step, index: int) -> Step:
    """One image's step of a batch's."""
    one = slice(index, index + 1)
    return replace(
        record,
        latent=record.latent[one].clone(),  # a view would keep the whole batch's
        image=record.image[one].clone(),
        loss=record.loss[one],
        parts={label: value[one] for label, value in record.parts.items()},
        psnr=record.psnr[one],
        grad_norm=None if record.grad_norm is None else record.grad_norm[one],
    )


class Worker:
    """Works on images with a model that is loaded once; `say` shows a line."""

    def __init__(self, plan: BatchPlan, say: Say) -> None:
        self.plan, self.say = plan, say
        self.loaded: Loaded = load(plan.config, say)
        self.together: dict[tuple[int, int], int] = {}  # how many images of a size go into one forward pass

    def work(self, items: Sequence[Item], interrupts: Interrupts) -> Iterator[Row]:
        """The rows of images whose results are written, or that failed; raises `Interrupted` when told to stop."""
        ready: dict[tuple[int, int], list[_Job]] = {}
        for item in items:
            began = time.perf_counter()
            try:
                with writing(item.output, "--output_dir"):
                    item.output.parent.mkdir(parents=True, exist_ok=True)
                plan = make_plan(self.plan.run_config(item))
                if self.plan.config.checkpoint_every or plan.checkpoint.exists():
                    yield self._alone(item, plan, interrupts)
                    continue
                scene = set_up(plan.config, plan.image_path, plan.seed, self.loaded)
            except Interrupted:
                raise
            except (LatentflowError, MemoryError, RuntimeError) as error:
                if not (isinstance(error, LatentflowError) or is_out_of_memory(error)):
                    raise
                yield failed(item, error, time.perf_counter() - began)
                continue
            if scene.size not in self.together:
                spare(plan.config, self.loaded.autoencoder, scene.size, self.say)
                self.together[scene.size] = self._fitting(scene.size)
            waiting = ready.setdefault(scene.size, [])
            waiting.append((item, plan, scene))
            if len(waiting) >= self.together[scene.size]:
                yield from self._together(ready.pop(scene.size), interrupts)
        for waiting in ready.values():
            yield from self._together(waiting, interrupts)

    def _fitting(self, size: tuple[int, int]) -> int:
        """How many images of a size go into one forward pass: as many as was said, or as memory has room for."""
        config = self.plan.config
        if config.method == "hybrid" or config.optimizer == "lbfgs":
            return 1
        if config.batch_size is not None:
            return config.batch_size
        device = self.loaded.autoencoder.device
        largest = LARGEST_BATCH.get(device.type, LARGEST_BATCH_ELSEWHERE)
        free = free_memory(device)
        if free is None:
            return largest
        return max(1, min(largest, int(0.6 * free / update_bytes(self.loaded.autoencoder, *size))))

    def _alone(self, item: Item, plan: Plan, interrupts: Interrupts) -> Row:
        """One image with checkpoints; from its checkpoint, if there is one that is good."""
        began = time.perf_counter()
        checkpoint = None
        if plan.checkpoint.exists() and not self.plan.config.overwrite:
            try:
                checkpoint = read_checkpoint(plan.checkpoint)
                changed = self.plan.differences(item, checkpoint["facts"]["options"], OUTPUTS)
                if changed:
                    raise InputError(f"its checkpoint is of other options: {', '.join(changed)}.")
                report = run(plan, interrupts, self.say, quiet=True, checkpoint=checkpoint, loaded=self.loaded)
            except InputError as error:
                self.say(f"{item.name} begins anew: {error}")
                checkpoint = None
        if checkpoint is None:
            report = run(plan, interrupts, self.say, quiet=True, loaded=self.loaded)
        if report.error is not None:
            raise report.error
        return succeeded(item, plan.seed, report.result, time.perf_counter() - began)

    def _together(self, group: list[_Job], interrupts: Interrupts) -> Iterator[Row]:
        """Optimize images of one size in one forward pass; fewer, where memory doesn't suffice or one fails."""
        began = time.perf_counter()
        try:
            rows = self._optimized(group, interrupts)
        except Interrupted:
            raise
        except (LatentflowError, MemoryError, RuntimeError) as error:
            if not (isinstance(error, LatentflowError) or is_out_of_memory(error)):
                raise
            if len(group) == 1:
                yield failed(group[0][0], error, time.perf_counter() - began)
                return
            half = len(group) // 2 if is_out_of_memory(error) else 1
            if is_out_of_memory(error):
                self.say(f"{len(group)} images of a size are too many for the memory; going on with {half} together.")
            for first in range(0, len(group), half):
                yield from self._together(group[first : first + half], interrupts)
            return
        yield from rows

    def _optimized(self, group: list[_Job], interrupts: Interrupts) -> list[Row]:
        began = time.perf_counter()
        config = group[0][1].config
        autoencoder = self.loaded.autoencoder
        target = torch.cat([scene.target for _, _, scene in group])
        objective = make_objective(config.loss_type, target, self.loaded.networks, self.say)
        label = loss_label(config, objective)
        outputs = [open_outputs(plan, scene, label) for _, plan, scene in group]
        share = Share(outputs, config.target_psnr)
        start = torch.cat([scene.latent for _, _, scene in group])
        records: Iterable[Step] = make_optimization(config, autoencoder, objective, start)
        run_sinks(interrupts.watch(until(records, lambda step: not share.at_work)), [share])
        seconds = (time.perf_counter() - began) / len(group)
        rows = []
        for (item, plan, _), each, error in zip(group, outputs, share.errors, strict=True):
            each.report.frames_written = each.frames.frames
            if error is not None:
                rows.append(failed(item, error, seconds))
            else:
                rows.append(succeeded(item, plan.seed, each.report.result, seconds))
        return rows
