"""Schedulers of diffusers: their steps are watched, begun late, and read for the picture that the model expects."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from latentflow.base.errors import InputError
from latentflow.prompts.config import SCHEDULERS

MORE_STEPS = 32  # that are tried, to say how many a scheduler needs


@dataclass(slots=True)
class DenoisingStep:
    """One step of a denoising: the latents (n, …) before it, `noisy`, and those of the picture that the model expects
    by then, `x0`."""

    noisy: Tensor
    x0: Tensor


@contextmanager
def _patched(scheduler: Any, **methods: Any) -> Iterator[None]:
    """Give a scheduler other methods, while it lasts."""
    before = {name: vars(scheduler).get(name) for name in methods}
    vars(scheduler).update(methods)
    try:
        yield
    finally:
        for name, method in before.items():
            vars(scheduler).pop(name)
            if method is not None:
                vars(scheduler)[name] = method


@contextmanager
def watched(
    scheduler: Any, watch: Callable[[DenoisingStep], None] | None, check: Callable[[Tensor], None]
) -> Iterator[None]:
    """Tell `watch` every step of a scheduler, and give each output of the model to `check`, while it lasts."""
    original = scheduler.step

    @wraps(original)  # pipelines look at which arguments it takes
    def step(model_output: Tensor, timestep: Any, sample: Tensor, *rest: Any, **named: Any) -> Any:
        check(model_output)
        if watch is not None:
            watch(DenoisingStep(sample.detach(), expected(scheduler, model_output, timestep, sample).detach()))
        return original(model_output, timestep, sample, *rest, **named)

    with _patched(scheduler, step=step):
        yield


class _ScheduleKnownError(Exception):
    """Ends a call once it has set its timesteps."""


@contextmanager
def schedule_alone(scheduler: Any) -> Iterator[None]:
    """End a call of the pipeline as soon as it has set the timesteps: only it knows how."""
    original = scheduler.set_timesteps

    @wraps(original)
    def set_timesteps(*given: Any, **named: Any) -> None:
        original(*given, **named)
        raise _ScheduleKnownError

    with _patched(scheduler, set_timesteps=set_timesteps), suppress(_ScheduleKnownError):
        yield


@contextmanager
def without_first(scheduler: Any, skipped: int) -> Iterator[None]:
    """Leave out the first timesteps of whatever schedule is set, while it lasts."""
    if not skipped:
        yield
        return
    original, begin, first_step = scheduler.set_timesteps, getattr(scheduler, "set_begin_index", None), scheduler.step
    complete: list[Tensor] = []

    @wraps(original)
    def set_timesteps(*given: Any, **named: Any) -> None:
        original(*given, **named)
        complete[:] = [scheduler.timesteps]
        scheduler.timesteps = scheduler.timesteps[skipped:]  # for the pipeline, which loops over them
        if begin is not None:
            begin(skipped)

    @wraps(first_step)
    def step(*given: Any, **named: Any) -> Any:
        scheduler.timesteps = complete[0]  # for the scheduler, which counts them
        return first_step(*given, **named)

    methods: dict[str, Any] = {"set_timesteps": set_timesteps, "step": step}
    if begin is not None:  # some pipelines set it to 0 themselves
        methods["set_begin_index"] = lambda _: begin(skipped)
    with _patched(scheduler, **methods):
        yield


def expected(scheduler: Any, model_output: Tensor, timestep: Any, sample: Tensor) -> Tensor:
    """The latents of the picture that a model expects, x0, from its output at a step.

    A noisy latent is a · x0 + s · noise. Then x0 is (sample - s · output) / a for a model that predicts noise,
    (a · sample / c - s · output) / c with c = √(a² + s²) for v-prediction (Salimans and Ho, 2022), and
    sample - s · output for one that predicts the flow from picture to noise (Lipman et al., 2023). The schedulers of
    EDM (Karras et al., 2022) mix sample and output themselves. Raises `InputError` for a model that predicts something
    else.
    """
    config = scheduler.config
    kind = getattr(config, "prediction_type", None)
    if hasattr(scheduler, "precondition_outputs"):
        found: Tensor = scheduler.precondition_outputs(sample, model_output, _sigma(scheduler, timestep).to(sample))
        return found
    if kind is None or kind == "flow_prediction" or getattr(config, "use_flow_sigmas", False):
        return sample - _sigma(scheduler, timestep).to(sample) * model_output
    if kind in ("sample", "original_sample"):
        return _limited(scheduler, model_output)
    a, s = (each.to(sample) for each in _signal_and_noise(scheduler, timestep))
    if kind == "epsilon":
        return _limited(scheduler, (sample - s * model_output) / a)
    if kind == "v_prediction":
        length = (a.square() + s.square()).sqrt()
        return _limited(scheduler, (a * sample / length - s * model_output) / length)
    raise InputError(f"A model that predicts {kind!r} has no x0 that is known here.", "Use `shown` noisy.")


def _sigma(scheduler: Any, timestep: Any) -> Tensor:
    """The noise level of the step that is next; that of its timestep would be ambiguous where several steps have the
    same."""
    index = scheduler.step_index
    if index is None:
        begin = getattr(scheduler, "begin_index", None)
        index = scheduler.index_for_timestep(timestep) if begin is None else begin
    found: Tensor = scheduler.sigmas[index]
    return found


def _signal_and_noise(scheduler: Any, timestep: Any) -> tuple[Tensor, Tensor]:
    """The factors a and s of picture and noise in the sample of a step.

    Schedulers are of three kinds. Some hold x0 + σ · noise and scale it by 1 / √(σ² + 1) for the model, which tells σ
    even where it lies between two entries of `sigmas` (the middle of a step of second order). Others have `sigmas` of
    the same kind and hold the scaled sample. The rest know their noise by the timestep alone.
    """
    one = torch.ones(1, 1, 1, 1)
    scale = scheduler.scale_model_input(one, timestep).double()
    if scale.item() != 1:
        return one, (1 / scale.square() - 1).sqrt().float()
    if hasattr(scheduler, "sigmas"):
        sigma = _sigma(scheduler, timestep).double()
        a = 1 / (sigma.square() + 1).sqrt()
        return a.float(), (sigma * a).float()
    when = torch.as_tensor(timestep).reshape(1).cpu()
    return scheduler.add_noise(one, 0 * one, when), scheduler.add_noise(0 * one, one, when)


def _limited(scheduler: Any, x0: Tensor) -> Tensor:
    """The picture that is expected, limited where the scheduler limits it before it goes on."""
    if getattr(scheduler.config, "thresholding", False):
        limited: Tensor = scheduler._threshold_sample(x0)
        return limited
    if getattr(scheduler.config, "clip_sample", False):
        most = getattr(scheduler.config, "clip_sample_range", 1.0)
        return x0.clamp(-most, most)
    return x0


def check_steps(scheduler: Any, steps: int | None) -> None:
    """Raise `InputError` for a number of steps that a scheduler refuses."""
    if steps is None or getattr(scheduler.config, "use_dynamic_shifting", False):  # these want to know the size
        return
    if _can(scheduler, steps):
        return
    name = next(
        (each for each, kind in SCHEDULERS.items() if kind == type(scheduler).__name__), type(scheduler).__name__
    )
    more = next((each for each in range(steps + 1, steps + MORE_STEPS) if _can(scheduler, each)), None)
    if more is not None:
        raise InputError(f"`steps` {steps} are too few for {name}.", f"Use {more} or more.")
    less = next((each for each in range(steps - 1, 0, -1) if _can(scheduler, each)), 1)
    raise InputError(f"`steps` {steps} are too many for {name}.", f"Use {less} or fewer.")


def _can(scheduler: Any, steps: int) -> bool:
    try:
        copy.deepcopy(scheduler).set_timesteps(steps)
    except (ValueError, IndexError, ZeroDivisionError, RuntimeError):
        return False
    return True
