"""One run, from a plan to its outputs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentflow.base.errors import InputError, LatentflowError, WeightsError
from latentflow.base.files import is_stream, remove_unfinished, sha256
from latentflow.base.options import options_that
from latentflow.base.records import Figures, Step, until
from latentflow.base.session import Say, Session
from latentflow.inversion.config import RunConfig
from latentflow.inversion.invert import Run
from latentflow.inversion.optimize import Inversion
from latentflow.inversion.target import Target, read_target
from latentflow.models.autoencoder import Autoencoder
from latentflow.models.device import describe
from latentflow.models.loading import Loaded
from latentflow.models.weights import FoundWeights
from latentflow.pictures.draw import Drawing
from latentflow.pictures.reader import Reader
from latentflow.runs.job import load_for
from latentflow.runs.outputs import OUTPUTS
from latentflow.runs.plan import Plan
from latentflow.runs.report import Report, versions
from latentflow.sinks import EveryNth, FrameSink, Sink, run_sinks
from latentflow.sinks.advice import Advice
from latentflow.sinks.background import Background
from latentflow.sinks.checkpoint import Checkpoints
from latentflow.sinks.frames import frame_options, open_frames
from latentflow.sinks.manifest import Manifest
from latentflow.sinks.progress import Progress
from latentflow.sinks.resample import ResampleByChange
from latentflow.sinks.save_best import SaveBest
from latentflow.sinks.trajectory import Trajectory, read_trajectory


def begin(plan: Plan, loaded: Loaded, session: Session) -> Run:
    """The run in memory that a plan asks for; raises `LatentflowError` as its parts do."""
    reader = Reader(plan.config)
    target = read_target(plan.config, plan.image_path, reader, loaded.autoencoder.device)
    return Run(plan.config, target, loaded, [plan.seed], session, reader=reader)


@dataclass(slots=True)
class Outputs:
    """The sinks of one run, and its report."""

    report: Report
    frames: FrameSink
    sinks: list[Sink[Any]]


def open_outputs(
    plan: Plan,
    loaded: Loaded,
    target: Target,
    label: str,
    after: int = 0,
    session: Session | None = None,
) -> Outputs:
    """The sinks of every output a run was asked for; with `after` the sinks that append continue after that record."""
    config = plan.config
    for path in (*plan.files, plan.checkpoint):
        remove_unfinished(path)
    report = Report(plan, loaded, target, label)
    frames = open_frames(
        plan.frames,
        **frame_options(config),
        hold=config.hold,
        draw=Drawing(target.image, side_by_side=config.side_by_side, caption=config.caption),
        session=session,
    )
    background, facts = Background(frames), report.facts()
    by_change = config.pace == "change"
    decode = decoder(loaded.autoencoder, report.size)
    sinks: list[Sink[Any]] = [
        Manifest(plan.manifest, facts, lambda: report.result, report.written),
        report,
        ResampleByChange(background, frame_count(config), decode, session)
        if by_change
        else EveryNth(config.skip_step, background),
        Trajectory(plan.trajectory, facts, 1 if by_change else config.skip_step, after),
    ]
    asked = [
        each.open(plan.outputs[each.option], report) for each in OUTPUTS if each.open and each.option in plan.outputs
    ]
    return Outputs(report, frames, sinks + asked)


def decoder(autoencoder: Autoencoder, size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """A function from a latent on any device to its picture."""
    return lambda latent: autoencoder.decode(latent.to(autoencoder.device), size)


def run(
    plan: Plan,
    session: Session,
    *,
    earlier: dict[str, Any] | None = None,
    checkpoint: dict[str, Any] | None = None,
    loaded: Loaded | None = None,
) -> Report:
    """Optimize as planned and write every output asked for; `earlier` is a manifest to repeat, `checkpoint` the state
    of a run to go on with, `loaded` what runs before it have loaded.

    A run that broke off after its first step (interrupted, diverged, disk full) has the error in its report, since
    what it wrote is valid. Raises `LatentflowError` for everything that is wrong before.
    """
    config = plan.config
    loaded = loaded or load_for(config, session)
    earlier = checkpoint["facts"] if checkpoint else earlier
    if earlier:
        _check_repeats(earlier, plan, loaded.weights, loaded.autoencoder.device, session.say)
    running = begin(plan, loaded, session)
    inversion = running.inversion
    replayed: Iterator[Figures] = iter(())
    if checkpoint:
        inversion.restore(checkpoint["state"])
        replayed = _replayed(plan, checkpoint, decoder(loaded.autoencoder, running.size))
        session.say(f"Going on from step {inversion.index}.")
    outputs = open_outputs(plan, loaded, running.target, running.label, after=inversion.index, session=session)
    report, sinks = outputs.report, outputs.sinks
    if config.checkpoint_every:
        best = SaveBest(lambda step: None, "best")
        sinks += [best, _checkpoints(plan, report.facts(), inversion, best)]
    if not session.quiet:
        for note in running.notes:
            session.say(note)
        if is_stream(plan.image_path):
            session.say(f"{plan.image_path} is a stream: to resume or repeat the run, pipe the same bytes into it.")
        sinks.append(Advice(session.say, outputs.frames.in_file(frame_count(config)), outputs.frames, shorter(config)))
    sinks.append(Progress(session, config.steps))
    goal = config.target_psnr

    def reached(record: Figures) -> bool:
        return goal is not None and float(record.psnr[0]) >= goal

    try:
        run_sinks(session.watch(until(chain(replayed, running), reached)), sinks)
        plan.checkpoint.unlink(missing_ok=True)  # not before every output is complete
    except LatentflowError as error:
        if report.last is None:
            raise
        report.error = error
    report.ended, report.phases = inversion.ended, inversion.phases
    report.frames_written = outputs.frames.frames
    return report


def _checkpoints(plan: Plan, facts: dict[str, Any], inversion: Inversion, best: SaveBest) -> Checkpoints:
    """The sink of the state, which holds the options with absolute paths, so that the file alone is enough to go on."""
    options = facts["options"] | {
        option: str(path.resolve()).replace("{", "{{").replace("}", "}}") for option, path in plan.outputs.items()
    }

    def state() -> dict[str, Any]:
        kept = None if best.kept is None else {"step": best.kept.index, "latent": best.kept.latent}
        return {"facts": facts | {"options": options}, "state": inversion.state(), "best": kept}

    assert plan.config.checkpoint_every is not None
    return Checkpoints(plan.checkpoint, state, plan.config.checkpoint_every, "`output_path`", inversion.index)


def _replayed(plan: Plan, checkpoint: dict[str, Any], decode: Callable[[Tensor], Tensor]) -> Iterator[Figures]:
    """The records up to a checkpoint, from the trajectory; raises `InputError` when that ends before it."""
    past = read_trajectory(plan.trajectory)
    index, best = checkpoint["state"]["index"], checkpoint["best"]
    if len(past.records) < index:
        raise InputError(f"The trajectory {plan.trajectory} ends before the checkpoint: the run can't go on.")
    if _identity(past.facts) != _identity(checkpoint["facts"]):
        raise InputError(f"The trajectory {plan.trajectory} and the checkpoint belong to different runs.")
    for record in past.steps(decode, before=index):
        if best and record.index == best["step"]:
            figures = record.figures if isinstance(record, Step) else record
            with torch.no_grad():
                yield Step(latent=best["latent"], image=decode(best["latent"]), **vars(figures))
        else:
            yield record


def _identity(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that identify a run: the options its result depends on, the image, its mask, the weights."""
    decisive = options_that(RunConfig, affects="result")
    options = {key: value for key, value in facts.get("options", {}).items() if key in decisive}
    return options | {part: facts.get(part, {}).get("sha256") for part in ("image", "mask", "weights")}


def frame_count(config: RunConfig) -> int:
    """Return the number of frames that a complete run keeps."""
    return len({*range(0, config.steps + 1, config.skip_step), config.steps})


def shorter(config: RunConfig) -> list[str]:
    """Describe changes that would make a run shorter."""
    hints = [f"`size` {config.size // 2} takes about a quarter of it"] if config.size > 256 else []
    few = ["`method` hybrid comes as near in 20 steps"] if config.method == "gradient" and config.steps > 20 else []
    return hints + few


def _check_repeats(earlier: dict[str, Any], plan: Plan, found: FoundWeights, device: torch.device, say: Say) -> None:
    """Refuse to repeat a run with another image or other weights; say what else may change the bytes."""
    if earlier.get("image", {}).get("sha256", "") != sha256(plan.image_path):
        raise InputError(
            f"{plan.image_path} is not the image of the manifest: its SHA-256 differs.",
            "Give `image_path` to use the manifest's options on another image.",
        )
    mask = plan.config.mask
    if mask is not None and earlier.get("mask", {}).get("sha256", "") != sha256(Path(mask)):
        raise InputError(
            f"{mask} is not the mask of the manifest: its SHA-256 differs.",
            "Give `mask` to use the manifest's options with another mask.",
        )
    known = earlier.get("weights", {}).get("sha256")
    if known != found.sha256:
        raise WeightsError(
            f"The weights of {found.name} are not those of the manifest: their SHA-256 is {found.sha256}, not {known}.",
            "Give `vae` to use the manifest's options with other weights.",
        )
    now = {**versions(), **describe(device)}
    then = {**earlier.get("versions", {}), **earlier.get("machine", {})}
    changed = [f"{key} {then.get(key)} → {value}" for key, value in now.items() if then.get(key) != value]
    if changed:
        say(f"The bytes may differ from the run of the manifest: {', '.join(changed)}.")
